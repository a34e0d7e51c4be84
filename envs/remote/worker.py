"""What runs in a worker process: some environments, stepped one after the other."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

# Sent to workers by value (see Fleet): these import nothing of dreamzoo, nor torch or SB3, unless
# what they run does. A worker then starts in a second and takes a few MB.


class Worker:
    """
    Environments of one process, with the automatic resets that SB3 expects.

    All that goes in and out is for all of them at once, observations stacked by the parts of
    their space.

    :param makers: functions that make one environment each
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]]) -> None:
        self._makers = own(makers)
        self._envs: list[gym.Env] = []
        self._actor: Any = None

    def start(self) -> tuple[spaces.Space, spaces.Space, str, int]:
        """
        Make the environments.

        :return: spaces of observations and actions, name of the machine, number of the process
        :raises ValueError: if their spaces differ
        """
        self._envs = [maker() for maker in self._makers]
        first = self._envs[0]
        for i, env in enumerate(self._envs):
            if env in self._envs[:i]:
                raise ValueError("make_env returned the same environment twice: make a new one")
            refuse_other_spaces(f"environment {i} of a worker", env, first)
        where = socket.gethostname(), os.getpid()
        return first.observation_space, first.action_space, *where

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> Any:
        """
        Reset all environments.

        :param seeds: one each
        :param options: one each; an empty one is not passed on
        :return: observations, and infos
        """
        obs, infos = [], []
        for env, seed, option in zip(self._envs, seeds, options, strict=True):
            given = {"options": own(option)} if option else {}
            first, info = env.reset(seed=seed, **given)
            obs.append(first)
            infos.append(info)
        self._obs = self._stack(obs)
        self._starts = np.ones(len(self._envs), bool)
        return self._obs, infos

    def step(self, actions: Sequence[Any]) -> Any:
        """
        Step all environments, and reset those whose episodes end.

        :param actions: one each
        :return: observations, rewards, dones, infos, and infos of resets by row
        """
        n = len(self._envs)
        obs, infos, resets = [], [], {}
        rewards, dones = np.zeros(n, np.float32), np.zeros(n, bool)
        for i, (env, action) in enumerate(zip(self._envs, own(actions), strict=True)):
            last, rewards[i], terminated, truncated, info = env.step(action)
            info["TimeLimit.truncated"] = truncated and not terminated
            dones[i] = terminated or truncated
            if dones[i]:
                info["terminal_observation"] = last
                last, resets[i] = env.reset()
            obs.append(last)
            infos.append(info)
        self._obs, self._starts = self._stack(obs), dones
        return self._obs, rewards, dones, infos, resets

    def take(self, actor: Any, seed: int) -> None:
        """
        Let something act here, instead of the learner; a reset must follow.

        :param actor: an :class:`Actor`
        :param seed: of its choices
        """
        self._actor = actor
        actor.seed(seed)

    def load(self, news: Any) -> None:
        """
        Pass on what the learner has learned.

        :param news: for the actor
        """
        self._actor.load(news)

    def act(self) -> Any:
        """
        Act on the last observations.

        :return: what the learner wants to know of the actions, and what :meth:`step` returns
        """
        actions, told = self._actor(self._obs, self._starts)
        return told, self.step(actions)

    def get_attr(self, name: str, rows: Sequence[int]) -> list[Any]:
        return [self._envs[i].get_wrapper_attr(name) for i in rows]

    def set_attr(self, name: str, value: Any, rows: Sequence[int]) -> None:
        for i in rows:
            setattr(self._envs[i], name, own(value))

    def env_method(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], rows: Sequence[int]
    ) -> list[Any]:
        answers = []
        for i in rows:
            own_args, own_kwargs = own((args, kwargs))
            answers.append(self._envs[i].get_wrapper_attr(name)(*own_args, **own_kwargs))
        return answers

    def is_wrapped(self, wrapper: type[gym.Wrapper], rows: Sequence[int]) -> list[bool]:
        return [has_wrapper(self._envs[i], wrapper) for i in rows]

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _stack(self, observations: Sequence[Any]) -> Any:
        return stack(self._envs[0].observation_space, observations)


def own(value: Any) -> Any:
    """
    Copy what Ray has brought, for those who may change it: the arrays in it are read-only.

    :param value: anything that was sent
    :return: the same, as a pipe would have brought it
    """
    from ray import cloudpickle

    # Newer protocols leave read-only what was so.
    return cloudpickle.loads(cloudpickle.dumps(value, protocol=4))


def stack(space: spaces.Space, observations: Sequence[Any]) -> Any:
    """
    Stack observations, in the dtypes of their space.

    :param space: of one; Dict and Tuple become dictionaries and tuples of arrays
    :param observations: n of them
    :return: (n, ...)
    """
    if isinstance(space, spaces.Dict):
        return {k: stack(part, [x[k] for x in observations]) for k, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stack(part, [x[i] for x in observations]) for i, part in enumerate(space))
    return np.stack([np.asarray(x, space.dtype) for x in observations])


def refuse_other_spaces(name: str, found: Any, expected: Any) -> None:
    """
    Compare the spaces of what has some.

    :param name: of the first
    :param found: has ``observation_space`` and ``action_space``
    :param expected: has ``observation_space`` and ``action_space``
    :raises ValueError: if they differ
    """
    for kind in ("observation_space", "action_space"):
        one, other = getattr(found, kind), getattr(expected, kind)
        if one != other:
            raise ValueError(f"{kind} of {name} is {one}, and of the first one {other}")


def has_wrapper(env: gym.Env, wrapper: type[gym.Wrapper]) -> bool:
    """Return whether one of the wrappers around an environment is of a class."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, wrapper):
            return True
        env = env.env
    return False
