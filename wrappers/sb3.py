"""Wrappers for vectorized environments of Stable-Baselines3."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from dreamzoo.wrappers.arrays import select
from dreamzoo.wrappers.stateful_observation import (
    Memory,
    extend,
    extend_space,
    make_memory,
    memory_space,
    zero_memory,
)


class VecPreviousActionReward(VecEnvWrapper):
    """
    Add the previous action and reward to the observation, zero where an episode starts.

    The same as :class:`dreamzoo.wrappers.PreviousActionReward`, also in
    ``terminal_observation``. Images must be wrapped in ``VecTransposeImage`` after this.

    Example:
        >>> from dreamzoo.wrappers import VecPreviousActionReward
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = VecPreviousActionReward(make_vec_env("CartPole-v1", n_envs=2, seed=0))
        >>> _ = env.reset()
        >>> obs, *_ = env.step([0, 1])
        >>> obs["previous_action"]
        array([[1., 0.],
               [0., 1.]], dtype=float32)

    :param venv: vectorized environment to wrap
    :raises TypeError: for Dict, Tuple and other composed actions
    :raises ValueError: for an observation that has one of the two keys already
    """

    def __init__(self, venv: VecEnv) -> None:
        self._memory = memory_space(venv.action_space)
        super().__init__(venv, extend_space(venv.observation_space, self._memory))
        self._actions = np.zeros(0)

    def reset(self) -> VecEnvObs:
        return extend(self.venv.reset(), self._zeros())

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.venv.step_wait()
        memory = make_memory(self._actions, rewards, self.venv.action_space, rewards)
        for info, action, reward in zip(infos, *memory, strict=True):
            if "terminal_observation" in info:
                final = info["terminal_observation"]
                info["terminal_observation"] = extend(final, Memory(action, reward))
        memory = Memory(*select(np.asarray(dones, bool), self._zeros(), memory))
        return extend(obs, memory), rewards, dones, infos

    def _zeros(self) -> Memory:
        return zero_memory(self._memory, (self.num_envs,), self._actions)
