"""Slow environments in worker processes: steps a second, and the time of a training."""

import time
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from dreamzoo import DreamerV3
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.envs import RemoteVecEnv

#: Ways to have environments in other processes, and whose workers act.
WAYS = ("subproc", "remote", "remote, acting in workers")
#: Of these, those that can be stepped by hand.
STEPPED = WAYS[:2]


def make_envs(way: str, n: int, obs: str, milliseconds: float, ahead: int) -> VecEnv:
    """
    Make environments, each in a process of its own.

    :param way: of ``WAYS``
    :param n: environments
    :param obs: ``vector`` or ``image``
    :param milliseconds: that a step of one takes
    :param ahead: steps that workers are ahead that act
    """
    make = partial(Synthetic, obs, milliseconds=milliseconds)
    if way == "subproc":
        return SubprocVecEnv([make] * n)
    acting: Any = "worker" if way == WAYS[-1] else "learner"
    return RemoteVecEnv(make, n, envs_per_worker=1, acting=acting, ahead=ahead)


def step_rate(env: VecEnv, seconds: float) -> float:
    """
    Step environments for some time.

    :param env: all of them
    :param seconds: that it takes
    :return: steps of all environments together in a second
    """
    actions = np.stack([env.action_space.sample()] * env.num_envs)
    env.reset()
    env.step(actions)
    steps, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        env.step(actions)
        steps += env.num_envs
    return steps / passed


def learning_time(env: VecEnv, size: str, train_ratio: float, steps: int) -> dict[str, float]:
    """
    Let a DreamerV3 learn, once everything is compiled and the replay has enough.

    :param env: all of its environments
    :param size: of its model
    :param train_ratio: replayed steps for each step
    :param steps: of all environments together
    :return: seconds of them, and how many updates were made in these
    """
    agent = DreamerV3(
        "MlpPolicy" if len(env.observation_space.shape or ()) == 1 else "CnnPolicy",
        env,
        learning_starts=64 * env.num_envs,
        train_ratio=train_ratio,
        policy_kwargs=dict(size=size),
        seed=0,
    )
    agent.learn((64 + 8) * env.num_envs)
    updates, start = agent._n_updates, time.perf_counter()
    agent.learn(steps, reset_num_timesteps=False)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "updates": agent._n_updates - updates}
