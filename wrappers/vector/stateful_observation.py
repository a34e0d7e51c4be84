"""Observations that tell what the agent did before, batched."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from dreamzoo.wrappers.arrays import Array, as_array, cast, first_array, select
from dreamzoo.wrappers.stateful_observation import (
    Memory,
    extend,
    extend_space,
    make_memory,
    memory_space,
    zero_memory,
)
from dreamzoo.wrappers.vector.autoreset import autoreset_mode, map_final_obs, reset_mask


class PreviousActionReward(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Add the previous action and reward to the observation, zero where an episode starts.

    The vector version of :class:`dreamzoo.wrappers.PreviousActionReward`, under any autoreset
    mode and with partial resets.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> from dreamzoo.wrappers.vector import PreviousActionReward
        >>> envs = PreviousActionReward(gym.make_vec("CartPole-v1", num_envs=2))
        >>> _ = envs.reset(seed=0)
        >>> obs, *_ = envs.step(np.array([0, 1]))
        >>> obs["previous_action"]
        array([[1., 0.],
               [0., 1.]], dtype=float32)

    :param env: vector environment to wrap
    :raises TypeError: for Dict, Tuple and other composed actions
    :raises ValueError: for an observation that has one of the two keys already
    """

    def __init__(self, env: VectorEnv) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        VectorWrapper.__init__(self, env)
        self._mode = autoreset_mode(env)
        self._spaces = memory_space(env.single_action_space)
        self.single_observation_space = extend_space(env.single_observation_space, self._spaces)
        batched = Memory(*(batch_space(part, self.num_envs) for part in self._spaces))
        self.observation_space = extend_space(env.observation_space, batched)
        self._last: Memory | None = None
        self._ended: Array | None = None

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        mask = reset_mask(options)
        obs, infos = self.env.reset(seed=seed, options=options)
        if mask is None or self._last is None:
            self._last, self._ended = self._zeros(obs), None
        else:
            rows = as_array(mask, first_array(obs))
            self._last = Memory(*select(rows, self._zeros(obs), self._last))
            self._ended = None if self._ended is None else self._ended & ~rows
        return extend(obs, self._last), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Array, Array, Array, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        memory = make_memory(actions, rewards, self.env.single_action_space, first_array(obs))
        infos = map_final_obs(
            infos, lambda final, rows: extend(final, Memory(*(part[rows] for part in memory)))
        )
        ended = cast(terminations, bool) | cast(truncations, bool)
        starts = {AutoresetMode.SAME_STEP: ended, AutoresetMode.NEXT_STEP: self._ended}
        rows = starts.get(self._mode)
        if rows is not None:
            memory = Memory(*select(rows, self._zeros(obs), memory))
        self._last, self._ended = memory, ended
        return extend(obs, memory), rewards, terminations, truncations, infos

    def _zeros(self, obs: Any) -> Memory:
        return zero_memory(self._spaces, (self.num_envs,), first_array(obs))
