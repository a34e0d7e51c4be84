"""Observations of smaller magnitude, batched."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from dreamzoo.wrappers.arrays import Array, Tree
from dreamzoo.wrappers.transform_observation import symlog_observation, symlog_space
from dreamzoo.wrappers.vector.autoreset import map_final_obs


class SymlogObservation(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Compress observations with sign(x) log(1 + abs(x)), float32; also the ``final_obs``.

    The vector version of :class:`dreamzoo.wrappers.SymlogObservation`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import SymlogObservation
        >>> envs = SymlogObservation(gym.make_vec("Pendulum-v1", num_envs=2))
        >>> envs.single_observation_space.high
        array([0.69314724, 0.69314724, 2.1972249 ], dtype=float32)

    :param env: vector environment to wrap
    :param include_images: compress uint8 too
    :raises ValueError: for an observation in which nothing would be compressed
    """

    def __init__(self, env: VectorEnv, include_images: bool = False) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, include_images=include_images)
        VectorWrapper.__init__(self, env)
        self.include_images = include_images
        self.single_observation_space = symlog_space(env.single_observation_space, include_images)
        self.observation_space = symlog_space(env.observation_space, include_images)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Tree, dict[str, Any]]:
        obs, infos = self.env.reset(seed=seed, options=options)
        return self._symlog(obs), infos

    def step(self, actions: Any) -> tuple[Tree, Array, Array, Array, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        infos = map_final_obs(infos, lambda final, _: self._symlog(final))
        return self._symlog(obs), rewards, terminations, truncations, infos

    def _symlog(self, obs: Tree) -> Tree:
        return symlog_observation(obs, self.env.single_observation_space, self.include_images)
