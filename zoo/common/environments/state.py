"""Copies of running environments, for continuing a training exactly."""

import io
import pickle
import random
import warnings
import zlib
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

from dreamzoo.common.environments.look import Look, stacks_of, were_used
from dreamzoo.common.environments.settings import EnvSettings, describe, differences
from dreamzoo.common.environments.sharing import shared_with_program

#: Bytes of the compressed state that are stored at most.
LARGEST = 100 * 10**6
#: Arrays of so many bytes that never change are not stored.
TABLE = 10**6


def _structure(stacks: list[list[Any]]) -> list[list[str]]:
    return [[type(layer).__qualname__ for layer in stack] for stack in stacks]


def save_env_state(env: VecEnv, settings: EnvSettings | None = None) -> dict[str, Any] | None:
    """
    Copy environments with their state, where that is possible.

    It is for a ``DummyVecEnv`` of dm_control's suite (from shimmy), of Atari, or of environments
    that pickle as they are: gymnasium's classic control and toy text, and most that are written
    in Python. It is not for others that pickle as their constructor's arguments (``EzPickle``:
    gymnasium's MuJoCo and Box2D), nor for subprocesses; there the continued training starts new
    episodes. The emulator of Atari does not tell its last action: with sticky actions the first
    frame after loading repeats "no operation" where it would have repeated that one.

    What environments share is copied once. What they share with the program (a curriculum that a
    callback also holds, the agent) is not copied, nor are large tables that never change: there
    the environments that the copy is loaded into keep their own.

    :param env: training environment
    :param settings: of these environments; None: nothing is known to be one, or to be shared
    :return: what :func:`load_env_state` takes, or None
    """
    stacks = stacks_of(env)
    if not isinstance(stacks[0][-1], DummyVecEnv):
        return None
    everyone = [layer for stack in stacks for layer in stack]
    settings = settings or EnvSettings()
    look = Look(stacks)
    settings.look(look)
    shared = _shared_places(everyone, look, settings)
    places = {id(look.objects[place]): place for place in shared | _tables(look, settings)}
    file = _Compressed()
    try:
        states = [[_state(layer) for layer in stack] for stack in stacks]
        _Pickler(file, everyone, places).dump(states)
        streams = {place: _stream(look.objects[place]) for place in shared}
        known = {
            "settings": settings.as_dict(),
            # What the program holds counts as it is given, whether it changes or not.
            "shared": {p: v for p, v in look.values.items() if look.lies_in(p, shared)},
            "streams": {place: value for place, value in streams.items() if value is not None},
        }
        known_bytes = zlib.compress(pickle.dumps(known), level=1)
    except Exception:  # whatever the environments' own objects raise: they cannot be copied
        return None
    if file.full:
        warnings.warn(
            f"The environments' state takes {file.size / 1e6:,.0f} MB and, compressed, more than "
            f"the {LARGEST / 1e6:,.0f} MB that are stored: it is left out, and a training that "
            "goes on from this file begins new episodes. Make large tables before training "
            "begins (what does not change is not stored), or leave the state out with "
            "env_state=False.",
            stacklevel=4,
        )
        return None
    return {"structure": _structure(stacks), "state": file.getvalue(), "known": known_bytes}


def _shared_places(everyone: list[Any], look: Look, settings: EnvSettings) -> set[str]:
    there = [place for place, value in look.objects.items() if settings.was_there(place, value)]
    shared = shared_with_program(everyone, look.objects, there)
    return {place for place, value in look.objects.items() if id(value) in shared}


def _tables(look: Look, settings: EnvSettings) -> set[str]:
    return {
        place
        for place, value in look.objects.items()
        if isinstance(value, np.ndarray | th.Tensor)
        and value.nbytes >= TABLE
        and place in settings.values
        and settings.was_there(place, value)
    }


def load_env_state(env: VecEnv, state: dict[str, Any]) -> EnvSettings:
    """
    Put copied environments' states into environments made in the same way.

    :param env: training environment of the same structure and with the same settings
    :param state: what :func:`save_env_state` returned
    :return: the settings
    :raises ValueError: if the environments have another structure or other settings, or the state
        cannot be read; they are as they were then
    """
    stacks = stacks_of(env)
    found = _structure(stacks)
    if "structure" not in state:
        raise ValueError("The saved environments have the form of an earlier version.")
    if found != state["structure"]:
        raise ValueError(
            "The saved environments were made in another way than these: "
            f"{_difference(state['structure'], found)}."
        )
    everyone = [layer for stack in stacks for layer in stack]
    look, known = Look(stacks), _NOTHING
    try:
        if "known" in state:
            known = pickle.loads(zlib.decompress(state["known"]))
        _check_settings(known, look, were_used(stacks))
        if "state" in state:
            states = _load(state["state"], everyone, look)
        else:  # before 0.1.0 was complete, without what environments share
            states = [_load(data, everyone, look) for data in state["states"]]
    except _OtherSettings:
        raise
    except Exception as error:
        raise ValueError(f"The saved environments cannot be read: {error!r}.") from error
    for place, value in known["streams"].items():
        _set_stream(look.objects[place], value)
    for stack, attributes in zip(stacks, states, strict=True):
        for layer, values in zip(stack, attributes, strict=True):
            if _EMULATOR in values:
                layer.restore_state(values.pop(_EMULATOR))
            vars(layer).update(values)
    return EnvSettings(known["settings"])


class _OtherSettings(ValueError):
    """Environments are given other settings than those that were saved."""


#: What a file of an earlier version says of settings.
_NOTHING: dict[str, Any] = {
    "settings": {"values": {}, "places": set(), "used": False},
    "shared": {},
    "streams": {},
}


def _check_settings(known: dict[str, Any], look: Look, used: bool) -> None:
    settings, shared = known["settings"], known["shared"]
    own = {place: value for place, value in settings["values"].items() if place not in shared}
    differing = differences(own, look.values, used or settings["used"])
    differing_shared = differences(shared, look.values, used=False)
    if differing:
        raise _OtherSettings(
            f"The environments are not as the saved ones: {describe(differing + differing_shared)}."
            " What is given counts."
        )
    if differing_shared:
        raise _OtherSettings(
            "What the environments share with the program is not as it was saved: "
            f"{describe(differing_shared)}. It stays as it is given; to go on in the middle of "
            "episodes, give it those values before load_replay_buffer()."
        )


def _difference(saved: list[list[str]], found: list[list[str]]) -> str:
    for one, other in zip(saved, found, strict=False):
        if one != other:
            return f"{' around '.join(one)}, now {' around '.join(other)}"
    return f"{len(saved) - 1} environments, now {len(found) - 1}"


_EMULATOR = "state of the emulator"  # no name that an attribute can have


class _Compressed:
    """
    Compresses what is written, until it is too much; then only counts it.

    A task of dm_control brings 24 MB of textures and empty memory, which shrink well.
    """

    def __init__(self) -> None:
        self.size, self.full = 0, False
        self._parts: list[bytes] = []
        self._stored = 0
        self._compressor = zlib.compressobj(level=1)

    def write(self, data: Any) -> int:
        """
        Take some bytes.

        :param data: anything with a buffer
        """
        size = memoryview(data).nbytes
        self.size += size
        if not self.full:
            self._parts.append(self._compressor.compress(data))
            self._stored += len(self._parts[-1])
        if self._stored > LARGEST:
            self.full = True
            self._parts.clear()
        return size

    def getvalue(self) -> bytes:
        """Return all, compressed."""
        return b"".join([*self._parts, self._compressor.flush()])


class _Pickler(cloudpickle.Pickler):
    """
    Write references to layers, and to what is not copied, instead of these objects.

    Lambdas, for example, refer to layers.
    """

    def __init__(self, file: _Compressed, layers: list[Any], places: dict[int, str]) -> None:
        super().__init__(file)
        self.known: dict[int, int | str] = {id(layer): i for i, layer in enumerate(layers)}
        self.known |= places

    def persistent_id(self, obj: Any) -> int | str | None:
        known = self.known.get(id(obj))
        if known is None and isinstance(obj, EzPickle) and isinstance(obj, gym.Env):
            raise TypeError(f"{obj} pickles as the arguments it was made with")
        return known


class _Unpickler(pickle.Unpickler):
    """Puts the layers in the place of their numbers, and of places what is given there."""

    def __init__(self, file: io.BytesIO, layers: list[Any], look: Look) -> None:
        super().__init__(file)
        self.layers, self.look = layers, look

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, int):
            return self.layers[pid]
        if pid not in self.look.objects:
            raise ValueError(
                f"the environments hold nothing at {pid}, which was the program's and is not "
                "stored; give it to them before load_replay_buffer()"
            )
        return self.look.objects[pid]


def _load(data: bytes, everyone: list[Any], look: Look) -> Any:
    return _Unpickler(io.BytesIO(zlib.decompress(data)), everyone, look).load()


def _stream(value: Any) -> Any:
    """Return where a source of randomness stands; None if it is none."""
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState | th.Generator):
        return value.get_state()
    return value.getstate() if isinstance(value, random.Random) else None


def _set_stream(value: Any, state: Any) -> None:
    """Let a source of randomness that the program has, too, go on where it stood."""
    if isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, random.Random):
        value.setstate(state)
    else:
        value.set_state(state)


def _state(layer: Any) -> dict[str, Any]:
    """
    Collect what a layer is at this moment.

    :raises TypeError: if it cannot be copied
    """
    attributes = {k: v for k, v in vars(layer).items() if not _is_tied(layer, v)}
    if isinstance(layer, VecEnvWrapper):
        attributes.pop("class_attributes", None)  # functions, which do not pickle
    if type(layer).__module__.startswith("ale_py."):
        state = {k: attributes.get(k) for k in ("_np_random", "_np_random_seed")}
        return state | {_EMULATOR: layer.clone_state(include_rng=True)}
    if isinstance(layer, EzPickle) and not _is_suite_env(layer):
        raise TypeError(f"{layer} pickles as the arguments it was made with")
    return attributes


def _is_tied(layer: Any, value: Any) -> bool:
    """Find what belongs to the process: open files, and the windows of gymnasium's own games."""
    if isinstance(value, EnvSpec | ResultsWriter):
        return True
    draws_anew = type(layer).__module__.startswith("gymnasium.envs.")
    return draws_anew and type(value).__module__.partition(".")[0] == "pygame"


def _is_suite_env(layer: Any) -> bool:
    """
    Recognize shimmy's environment of a task of dm_control's suite.

    Unlike the environment around it the task pickles whole: the state of the physics, the model
    (which some tasks change at every reset) and the random numbers of its resets.
    """
    if type(layer).__module__ != "shimmy.dm_control_compatibility":
        return False
    return type(layer._env).__module__ == "dm_control.rl.control"
