"""What a file holds, in words: read without building anything, and without running code."""

import inspect
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import TrainFreq

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.storage.agent_file import DATA, SYSTEM, TRUSTED
from dreamzoo.common.storage.container import (
    FileError,
    OtherFormat,
    Reader,
    existing,
    printable,
    reading,
)
from dreamzoo.common.storage.plain import from_json, name_of
from dreamzoo.common.storage.saves import MODEL, newest

#: Members of the other files, as their own modules write them.
_REPLAY, _TRAINING, _STATISTICS = "replay.json", "training.json", "statistics.json"
_TRANSITIONS = "transitions.json"
#: Characters of a value that are shown.
_LONGEST = 160
#: What agents keep where they were given None.
_GIVEN: tuple[Any, ...] = ({}, 0.0, SequenceReplayBuffer, ReplayBuffer)
#: What suffixes may have been left out.
_SUFFIXES = ("zip", "npz", "pkl")
#: What SB3's ``EvalCallback`` writes beside a model: returns, of which nothing is loaded.
_SCORES = "evaluations.npz"

Line = tuple[str, str]


def describe(path: str | pathlib.Path, all_settings: bool = False) -> str:
    """
    Say what a file of dreamzoo holds, or all files of a run's newest save.

    Every member is read and checked, but nothing is built and no code of the file runs.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.common.storage.inspection import describe
        >>> small = dict(size="debug")
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", gamma=0.9, policy_kwargs=small)
        >>> model.save("model")
        >>> print(describe("model"))  # doctest: +ELLIPSIS
        model.zip: an agent, ..., complete
          agent         DreamerV3, MlpPolicy
          observations  Box(...)
          actions       Discrete(2)
          steps         0, 0 updates, 1 environment
          settings      gamma=0.9
                        policy_kwargs={'size': 'debug'}
        ...

    :param path: file, with its suffix or without, or folder of a :class:`SaveCallback`
    :param all_settings: of an agent, also those that are as they are by default
    :return: lines of text
    :raises FileNotFoundError: if there is no such file, or no save in a folder
    :raises ValueError: if the file is damaged, or not of dreamzoo's form; in a folder this is said
        in the place of its content
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        path = existing(path, *_SUFFIXES)
        return printable(_file(path, all_settings)[0])
    last = newest(path)
    found_there = sorted(last.iterdir()) if last.is_dir() else []
    files = [x for x in found_there if x.suffix[1:] in _SUFFIXES and x.name != _SCORES]
    if not files:
        raise FileNotFoundError(f"There is no save in the folder {path}.")
    found, moments = [], {}
    for file in files:
        try:
            text, moment = _file(file, all_settings)
        except FileError as error:
            text, moment = str(error), ""
        found.append(text)
        if moment:
            moments[file.name] = moment
    of_model = moments.get(MODEL)
    others = [name for name, moment in moments.items() if of_model and moment != of_model]
    if others:
        found.append(f"Of another moment than {MODEL}: {', '.join(others)}.")
    return printable("\n".join([f"newest save: {last}", *found]))


def describe_own(path: str | pathlib.Path) -> str:
    """
    Do what :func:`describe` does, if a file is of dreamzoo's form.

    :param path: see :func:`describe`
    :return: nothing for a file of SB3 or dreamzoo 0.1, which cannot be described without trust
    """
    try:
        return describe(path)
    except OtherFormat:
        return ""


def _file(path: pathlib.Path, all_settings: bool) -> tuple[str, str]:
    """Describe a file; return its moment, too."""
    with reading(path, None) as reader:
        reader.check()
        lines = [*_CONTENTS[reader.kind](reader, all_settings), *_common(reader)]
        head = f"{path.name}: {reader.holds}, {_size(reader.size)}, complete"
        width = max(len(name) for name, _ in lines) + 2
        return "\n".join([head, *(f"  {k:{width}}{_short(v)}" for k, v in lines)]), reader.moment


def _common(reader: Reader) -> Iterator[Line]:
    if reader.moment:
        yield "moment", reader.moment
    yield "written by", f"dreamzoo {reader.index['dreamzoo']}, form {reader.index['version']}"
    sizes = sorted(reader.sizes.items(), key=lambda item: -item[1])
    for i, (name, size) in enumerate(sizes):
        yield "" if i else "members", f"{_size(size):>10}  {name}"
    trusted = reader.index.get(TRUSTED, {})
    code = [f"{name} ({kind})" for name, kind in trusted.items()]
    yield "needs trust", "all of it" if reader.kind == "environments" else ", ".join(code) or "-"


def _agent(reader: Reader, all_settings: bool) -> Iterator[Line]:
    data = {name: from_json(value) for name, value in reader.read_json(DATA).items()}
    name, policy = str(reader.index["agent"]), data.get("policy_class", "?")
    kind = _agent_class(name)
    shown = name if kind is None else kind.__name__
    yield "agent", f"{shown}, {policy if isinstance(policy, str) else name_of(policy)}"
    yield from _spaces(data)
    counted = data.get("num_timesteps", 0), data.get("_n_updates", 0), data.get("n_envs", 1)
    yield "steps", f"{counted[0]}, {counted[1]} updates, {_count(counted[2], 'environment')}"
    settings = _settings(data, kind, all_settings)
    yield from _listed("settings", settings)
    machine = [line.strip("- ") for line in reader.read(SYSTEM).decode().splitlines()]
    yield "written on", "; ".join(machine)


def _listed(name: str, values: Mapping[str, Any]) -> Iterator[Line]:
    """Give every setting a line."""
    lines = [f"{key}={_value(value)}" for key, value in values.items()] or ["the defaults"]
    yield from zip([name, *[""] * (len(lines) - 1)], lines, strict=True)


def _settings(data: Mapping[str, Any], kind: type | None, everything: bool) -> dict[str, Any]:
    """List an agent's settings; where its class is not known here, all public attributes."""
    if kind is None:
        return {k: v for k, v in data.items() if k[0] != "_" and not k.endswith("_space")}
    settings = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        is_default = _alike(data.get(name), parameter.default)
        if name in data and name not in ("policy", "env") and (everything or not is_default):
            settings[name] = data[name]
    return settings


def _alike(value: Any, default: Any) -> bool:
    """Compare a setting with its default, which an agent may have put into another form."""
    if isinstance(value, TrainFreq):
        unit, default = value.unit.value, default if isinstance(default, tuple) else (default,)
        return (value.frequency, unit) == (*default, "step")[:2]
    if default is None:
        return value is None or any(type(value) is type(x) and value == x for x in _GIVEN)
    return bool(value == default)


def _value(value: Any) -> str:
    if isinstance(value, TrainFreq):
        return f"({value.frequency}, {value.unit.value!r})"
    return name_of(value) if isinstance(value, type) else repr(value)


def _agent_class(name: str) -> type | None:
    from dreamzoo import AGENTS  # the agents import this package

    return next((kind for kind in AGENTS.values() if name_of(kind) == name), None)


def _policy(reader: Reader, _: bool) -> Iterator[Line]:
    data = {name: from_json(value) for name, value in reader.read_json(DATA).items()}
    yield "policy", str(reader.index["policy"])
    yield from _spaces(data)
    yield from _listed("arguments", {k: v for k, v in data.items() if not k.endswith("_space")})


def _replay(reader: Reader, _: bool) -> Iterator[Line]:
    what = from_json(reader.read_json(_REPLAY))
    yield from _spaces(what)
    count, capacity = np.asarray(what["count"]), what["capacity"]
    kept = int(np.minimum(count, capacity).sum())
    size = f"{kept} of up to {capacity * what['n_envs']}, {_count(what['n_envs'], 'environment')}"
    yield "records", size
    yield "latents", ", ".join(what["latents"] or {}) or "-"
    if _TRAINING in reader.names:
        yield from _training(reader, False)


def _transitions(reader: Reader, _: bool) -> Iterator[Line]:
    what = from_json(reader.read_json(_TRANSITIONS))
    yield from _spaces(what)
    n_envs, rows = what["n_envs"], what["capacity"] if what["full"] else what["pos"]
    size = f"{rows * n_envs} of up to {what['capacity'] * n_envs}, {_count(n_envs, 'environment')}"
    yield "transitions", size
    yield from _listed("settings", {"class": what["class"], **what["given"]})


def _training(reader: Reader, _: bool) -> Iterator[Line]:
    state = from_json(reader.read_json(_TRAINING))
    envs = _count(state["n_envs"], "environment")
    yield "training", f"of {state['agent']}, {state['num_timesteps']} steps, {envs}"


def _statistics(reader: Reader, _: bool) -> Iterator[Line]:
    known = from_json(reader.read_json(_STATISTICS))
    seen = known.get("obs_rms")
    for key, rms in (seen if isinstance(seen, dict) else {"": seen}).items():
        if rms is not None:
            yield f"observations {key}".strip(), f"of shape {rms.mean.shape}, {rms.count:.0f} seen"
    yield from _listed("settings", {k: v for k, v in known.items() if not k.endswith("_rms")})


def _environments(reader: Reader, _: bool) -> Iterator[Line]:
    yield "copies", "of running environments, by which training goes on inside of episodes"


_CONTENTS: dict[str, Callable[[Reader, bool], Iterator[Line]]] = {
    "agent": _agent,
    "policy": _policy,
    "replay": _replay,
    "transitions": _transitions,
    "training": _training,
    "statistics": _statistics,
    "environments": _environments,
}


def _spaces(data: Mapping[str, Any]) -> Iterator[Line]:
    yield "observations", str(data["observation_space"])
    yield "actions", str(data["action_space"])


def _count(n: Any, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _size(nbytes: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000  # type: ignore[assignment]
    return f"{nbytes:.3g} GB"


def _short(text: str) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
