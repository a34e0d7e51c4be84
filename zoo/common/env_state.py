"""Copies of running environments, for continuing a training exactly."""

import pickle
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

    It is for a ``DummyVecEnv`` of environments that pickle as they are: gymnasium's classic
    control and toy text, and most that are written in Python. It is not for those that pickle
    as their constructor's arguments (``EzPickle``: MuJoCo, Atari, Box2D, shimmy), nor for
    subprocesses; there the continued training starts new episodes.

    :param env: training environment
    :return: what :func:`load_env_state` takes, or None
    """
    wrappers, base = _vec_layers(env)
    if not isinstance(base, DummyVecEnv):
        return None
    if any(isinstance(layer, EzPickle) for single in base.envs for layer in _layers(single)):
        return None
    try:
        return {
            "envs": [cloudpickle.dumps([_state(x) for x in _layers(e)]) for e in base.envs],
            "wrappers": cloudpickle.dumps([_state(x) for x in wrappers]),
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
        for layer, attributes in zip(layers, pickle.loads(data), strict=True):
            vars(layer).update(attributes)


#: What ties an environment to its process or to its inner layers.
_NOT_STATE = {
    *("env", "venv", "screen", "clock", "surf", "results_writer", "viewer", "spec"),
    "class_attributes",  # of a VecEnvWrapper: functions, which do not pickle
}


def _state(layer: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(layer).items() if k not in _NOT_STATE}
