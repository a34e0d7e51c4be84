"""Copies of running environments, for continuing a training exactly."""

import pickle
import zlib
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.utils import EzPickle
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper


def _layers(env: gym.Env) -> list[gym.Env]:
    layers = [env]
    while isinstance(env, gym.Wrapper):
        env = env.env
        layers.append(env)
    return layers


def _vec_layers(env: VecEnv) -> tuple[list[VecEnv], VecEnv]:
    """Return the VecEnv's wrappers and what they wrap."""
    wrappers: list[VecEnv] = []
    while isinstance(env, VecEnvWrapper):
        wrappers.append(env)
        env = env.venv
    return wrappers, env


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
    wrappers, base = _vec_layers(env)
    if not isinstance(base, DummyVecEnv):
        return None
    try:
        return {
            "envs": [_dump(_layers(single)) for single in base.envs],
            "wrappers": _dump(wrappers),
        }
    except (TypeError, AttributeError, pickle.PicklingError):
        return None


def load_env_state(env: VecEnv, state: dict[str, Any]) -> None:
    """
    Put copied environments' states into environments made in the same way.

    :param env: training environment of the same structure
    :param state: what :func:`save_env_state` returned
    """
    wrappers, base = _vec_layers(env)
    if not isinstance(base, DummyVecEnv) or len(base.envs) != len(state["envs"]):
        raise ValueError(
            f"The saved state is of {len(state['envs'])} environments in a DummyVecEnv; this is a "
            f"{type(base).__name__} of {env.num_envs}."
        )
    stacks: list[tuple[list[Any], bytes]] = [(wrappers, state["wrappers"])]
    stacks += [(_layers(e), data) for e, data in zip(base.envs, state["envs"], strict=True)]
    for layers, data in stacks:
        for layer, attributes in zip(layers, pickle.loads(zlib.decompress(data)), strict=True):
            if _EMULATOR in attributes:
                layer.restore_state(attributes.pop(_EMULATOR))
            vars(layer).update(attributes)


#: What ties an environment to its process or to its inner layers.
_NOT_STATE = {
    *("env", "venv", "screen", "clock", "surf", "results_writer", "viewer", "spec"),
    "class_attributes",  # of a VecEnvWrapper: functions, which do not pickle
}
_EMULATOR = "state of the emulator"  # no name that an attribute can have


def _dump(layers: list[Any]) -> bytes:
    # A task of dm_control brings 24 MB of textures and empty memory, which shrink well.
    return zlib.compress(cloudpickle.dumps([_state(layer) for layer in layers]), level=1)


def _state(layer: Any) -> dict[str, Any]:
    """
    Collect what a layer is at this moment.

    :raises TypeError: if it cannot be copied
    """
    attributes = {k: v for k, v in vars(layer).items() if k not in _NOT_STATE}
    if type(layer).__module__.startswith("ale_py."):
        state = {k: attributes.get(k) for k in ("_np_random", "_np_random_seed")}
        return state | {_EMULATOR: layer.clone_state(include_rng=True)}
    if isinstance(layer, EzPickle) and not _is_suite_env(layer):
        raise TypeError(f"{layer} pickles as the arguments it was made with")
    return attributes


def _is_suite_env(layer: Any) -> bool:
    """
    Tell shimmy's environment of a task of dm_control's suite.

    Unlike the environment around it the task pickles whole: the state of the physics, the model
    (which some tasks change at every reset) and the random numbers of its resets.
    """
    if type(layer).__module__ != "shimmy.dm_control_compatibility":
        return False
    return type(layer._env).__module__ == "dm_control.rl.control"
