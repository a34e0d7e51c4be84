"""The discount as an environment tells it, batched."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from dreamzoo.wrappers.arrays import Array, Tree, as_array, cast, first_array, select
from dreamzoo.wrappers.episode_discount import Discount, check_gamma, discount_space, full
from dreamzoo.wrappers.stateful_observation import extend, extend_space
from dreamzoo.wrappers.vector.autoreset import autoreset_mode, map_final_obs, reset_mask


class EpisodeDiscount(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Report the discount of every step: gamma inside an episode, 0 at termination.

    The vector version of :class:`dreamzoo.wrappers.EpisodeDiscount`. ``infos["discount"]``
    belongs to the step, as the rewards do, under every autoreset mode; under SAME_STEP it is in
    ``infos["final_info"]`` too. In an observation it belongs to the observation: gamma in the
    first one of an episode, and 0 in the ``final_obs`` of a terminated one.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import EpisodeDiscount
        >>> envs = EpisodeDiscount(gym.make_vec("CartPole-v1", num_envs=2), gamma=0.99)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(envs.action_space.sample())[4]["discount"]
        array([0.99, 0.99], dtype=float32)

    :param env: vector environment to wrap
    :param gamma: discount inside an episode
    :param add_to_observation: make the observation a Dict with ``obs`` and ``discount``; a Dict
        keeps its keys and gets this one
    :raises ValueError: for a gamma outside [0, 1], or an observation with a key ``discount``
    """

    def __init__(
        self, env: VectorEnv, gamma: float = 0.99, add_to_observation: bool = False
    ) -> None:
        check_gamma(gamma)
        gym.utils.RecordConstructorArgs.__init__(
            self, gamma=gamma, add_to_observation=add_to_observation
        )
        VectorWrapper.__init__(self, env)
        self.gamma, self.add_to_observation = float(gamma), add_to_observation
        self._mode = autoreset_mode(env)
        if add_to_observation:
            single = discount_space(gamma)
            batched = Discount(batch_space(single.discount, self.num_envs))
            self.single_observation_space = extend_space(env.single_observation_space, single)
            self.observation_space = extend_space(env.observation_space, batched)
        self._last: Array | None = None

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Tree, dict[str, Any]]:
        mask = reset_mask(options)
        obs, infos = self.env.reset(seed=seed, options=options)
        discount = full((self.num_envs,), self.gamma, first_array(obs))
        if mask is not None and self._last is not None:
            discount = select(as_array(mask, discount), discount, self._last)
        return self._extend(obs, discount), self._inform(infos, discount)

    def step(self, actions: Any) -> tuple[Tree, Array, Array, Array, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        discount = cast(~cast(terminations, bool), np.float32) * self.gamma  # (B,)
        infos = self._inform(infos, discount)
        first = discount
        if self._mode is AutoresetMode.SAME_STEP:
            first = full((self.num_envs,), self.gamma, first_array(obs))
            if "final_info" in infos:
                infos["final_info"] = self._inform(infos["final_info"], discount)
            if self.add_to_observation:
                infos = map_final_obs(
                    infos,
                    lambda final, rows: extend(final, Discount(discount[..., None][rows])),
                )
        return self._extend(obs, first), rewards, terminations, truncations, infos

    def _extend(self, obs: Tree, discount: Array) -> Tree:
        self._last = discount
        if not self.add_to_observation:
            return obs
        return extend(obs, Discount(discount[..., None]))

    @staticmethod
    def _inform(infos: dict[str, Any], discount: Array) -> dict[str, Any]:
        # gymnasium marks the rows that have an info; here all rows have it.
        return {**infos, "discount": discount, "_discount": discount >= 0}
