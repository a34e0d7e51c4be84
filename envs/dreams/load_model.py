"""From whatever names an agent to the agent."""

import contextlib
import importlib
import io
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch as th
from stable_baselines3.common.save_util import load_from_zip_file

from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm

#: An agent, a file it was saved to, or a function that returns one of these.
Model = WorldModelAlgorithm | str | pathlib.Path | Callable[[], Any]


def load_model(model: Model, device: th.device | str = "auto") -> WorldModelAlgorithm:
    """
    Get an agent from whatever names it.

    :param model: an agent, a file written by its ``save``, or a function that returns one of these
    :param device: of a model that is loaded from a file
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: if the file does not hold an agent of dreamzoo, or one of a class that is
        not known here
    """
    if isinstance(model, WorldModelAlgorithm):
        return model
    if callable(model):
        return load_model(model(), device)
    if not isinstance(model, (str, pathlib.Path)):
        raise TypeError(
            f"model={model!r} must be an agent of dreamzoo, the path of a saved one, or a function "
            "that returns one of these."
        )
    path = pathlib.Path(model)
    path = path if path.exists() else pathlib.Path(f"{path}.zip")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {model}; save an agent with agent.save(path).")
    try:
        data, _, _ = load_from_zip_file(io.BytesIO(path.read_bytes()), device="cpu")
        policy_class = (data or {})["policy_class"]
    except (ValueError, KeyError, zipfile.BadZipFile):
        raise ValueError(f"{path} is not a file that agent.save() wrote.") from None
    assert data is not None
    if "_agent_class" in data:
        return _by_name(path, data["_agent_class"]).load(path, device=device)
    # Of an earlier version, or of no agent with a world model.
    return _by_policy(path, policy_class).load(path, device=device)


def _by_policy(path: pathlib.Path, policy_class: Any) -> type[WorldModelAlgorithm]:
    from dreamzoo import AGENTS  # the agents import this package

    for agent in AGENTS.values():
        assert issubclass(agent, WorldModelAlgorithm)
        if isinstance(policy_class, type) and issubclass(policy_class, agent.policy_base):
            return agent
    raise ValueError(
        f"{path} holds an agent with the policy {policy_class}, which has no world model. Expected "
        f"one of {', '.join(agent.__name__ for agent in AGENTS.values())}."
    )


def _by_name(path: pathlib.Path, name: str) -> type[WorldModelAlgorithm]:
    """Find an agent's class, which may be the user's own, among those that exist."""
    module, _, qualname = name.partition(":")
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
    for agent in _subclasses(WorldModelAlgorithm):  # type: ignore[type-abstract]
        if (agent.__module__, agent.__qualname__) == (module, qualname):
            return agent
    raise ValueError(
        f"{path} holds an agent of the class {qualname} of {module}, which cannot be found here. "
        f"Import it first, or load the agent yourself: DreamEnv({qualname}.load(path))."
    )


def _subclasses(base: type[WorldModelAlgorithm]) -> Iterator[type[WorldModelAlgorithm]]:
    """List all classes derived from one, the newest first."""
    for derived in reversed(base.__subclasses__()):
        yield derived
        yield from _subclasses(derived)
