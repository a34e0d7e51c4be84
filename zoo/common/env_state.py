"""Copies of running environments, for continuing a training exactly."""

import io
import pickle
import zlib
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper


def _layers(env: gym.Env) -> list[gym.Env]:
    layers = [env]
    while isinstance(env, gym.Wrapper):
        env = env.env
        layers.append(env)
    return layers


def _stacks(env: VecEnv) -> list[list[Any]]:
    """List the VecEnv with its wrappers, then every single environment with its own."""
    vec: list[Any] = [env]
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        vec.append(env)
    return [vec, *(_layers(single) for single in getattr(env, "envs", []))]


def _structure(stacks: list[list[Any]]) -> list[list[str]]:
    return [[type(layer).__qualname__ for layer in stack] for stack in stacks]


def save_env_state(env: VecEnv) -> dict[str, Any] | None:
    """
    Copy environments with their state, where that is possible.

    It is for a ``DummyVecEnv`` of dm_control's suite (from shimmy), of Atari, or of environments
    that pickle as they are: gymnasium's classic control and toy text, and most that are written
    in Python. It is not for others that pickle as their constructor's arguments (``EzPickle``:
    gymnasium's MuJoCo and Box2D), nor for subprocesses; there the continued training starts new
    episodes. The emulator of Atari does not tell its last action: with sticky actions the first
    frame after loading repeats "no operation" where it would have repeated that one.

    :param env: training environment
    :return: what :func:`load_env_state` takes, or None
    """
    stacks = _stacks(env)
    if not isinstance(stacks[0][-1], DummyVecEnv):
        return None
    everyone = [layer for stack in stacks for layer in stack]
    try:
        return {
            "structure": _structure(stacks),
            "states": [_dump(stack, everyone) for stack in stacks],
        }
    except Exception:  # whatever the environments' own objects raise: they cannot be copied
        return None


def load_env_state(env: VecEnv, state: dict[str, Any]) -> None:
    """
    Put copied environments' states into environments made in the same way.

    :param env: training environment of the same structure
    :param state: what :func:`save_env_state` returned
    :raises ValueError: if the environments have another structure, or the state cannot be read;
        they are as they were then
    """
    stacks = _stacks(env)
    found = _structure(stacks)
    if "structure" not in state:
        raise ValueError("The saved environments have the form of an earlier version.")
    if found != state["structure"]:
        raise ValueError(
            "The saved environments were made in another way than these: "
            f"{_difference(state['structure'], found)}."
        )
    everyone = [layer for stack in stacks for layer in stack]
    try:
        states = [_load(data, everyone) for data in state["states"]]
    except Exception as error:
        raise ValueError(f"The saved environments cannot be read: {error!r}.") from error
    for stack, attributes in zip(stacks, states, strict=True):
        for layer, values in zip(stack, attributes, strict=True):
            if _EMULATOR in values:
                layer.restore_state(values.pop(_EMULATOR))
            vars(layer).update(values)


def _difference(saved: list[list[str]], found: list[list[str]]) -> str:
    for one, other in zip(saved, found, strict=False):
        if one != other:
            return f"{' around '.join(one)}, now {' around '.join(other)}"
    return f"{len(saved) - 1} environments, now {len(found) - 1}"


_EMULATOR = "state of the emulator"  # no name that an attribute can have


class _Pickler(cloudpickle.Pickler):
    """Writes where layers are meant, from lambdas for example, which of them it is."""

    def __init__(self, file: io.BytesIO, layers: list[Any]) -> None:
        super().__init__(file)
        self.numbers = {id(layer): i for i, layer in enumerate(layers)}

    def persistent_id(self, obj: Any) -> int | None:
        number = self.numbers.get(id(obj))
        if number is None and isinstance(obj, EzPickle) and isinstance(obj, gym.Env):
            raise TypeError(f"{obj} pickles as the arguments it was made with")
        return number


class _Unpickler(pickle.Unpickler):
    """Puts the layers in the place of their numbers."""

    def __init__(self, file: io.BytesIO, layers: list[Any]) -> None:
        super().__init__(file)
        self.layers = layers

    def persistent_load(self, pid: Any) -> Any:
        return self.layers[pid]


def _dump(stack: list[Any], everyone: list[Any]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, everyone).dump([_state(layer) for layer in stack])
    # A task of dm_control brings 24 MB of textures and empty memory, which shrink well.
    return zlib.compress(file.getbuffer(), level=1)


def _load(data: bytes, everyone: list[Any]) -> list[dict[str, Any]]:
    return _Unpickler(io.BytesIO(zlib.decompress(data)), everyone).load()


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
    """Tell what belongs to the process: open files, and the windows of gymnasium's own games."""
    if isinstance(value, EnvSpec | ResultsWriter):
        return True
    draws_anew = type(layer).__module__.startswith("gymnasium.envs.")
    return draws_anew and type(value).__module__.partition(".")[0] == "pygame"


def _is_suite_env(layer: Any) -> bool:
    """
    Tell shimmy's environment of a task of dm_control's suite.

    Unlike the environment around it the task pickles whole: the state of the physics, the model
    (which some tasks change at every reset) and the random numbers of its resets.
    """
    if type(layer).__module__ != "shimmy.dm_control_compatibility":
        return False
    return type(layer._env).__module__ == "dm_control.rl.control"
