"""The discount as an environment tells it: none where an episode terminates."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from dreamzoo.wrappers.arrays import Array, first_array
from dreamzoo.wrappers.stateful_observation import extend, extend_space


class EpisodeDiscount(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Report the discount of every step: gamma inside an episode, 0 at termination.

    It is in ``info["discount"]``, where it replaces what may be there. A truncated episode could
    have gone on, hence it keeps gamma.

    A vector version exists, :class:`dreamzoo.wrappers.vector.EpisodeDiscount`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import EpisodeDiscount
        >>> env = EpisodeDiscount(gym.make("CartPole-v1"), gamma=0.99, add_to_observation=True)
        >>> obs, info = env.reset(seed=0)
        >>> info["discount"], obs["discount"]
        (0.99, array([0.99], dtype=float32))
        >>> terminated = False
        >>> while not terminated:
        ...     obs, _, terminated, _, info = env.step(0)
        >>> info["discount"], obs["discount"]
        (0.0, array([0.], dtype=float32))

    :param env: environment to wrap
    :param gamma: discount inside an episode
    :param add_to_observation: make the observation a Dict with ``obs`` and ``discount``; a Dict
        keeps its keys and gets this one
    :raises ValueError: for a gamma outside [0, 1], or an observation with a key ``discount``
    """

    def __init__(self, env: gym.Env, gamma: float = 0.99, add_to_observation: bool = False) -> None:
        check_gamma(gamma)
        gym.utils.RecordConstructorArgs.__init__(
            self, gamma=gamma, add_to_observation=add_to_observation
        )
        gym.Wrapper.__init__(self, env)
        self.gamma, self.add_to_observation = gamma, add_to_observation
        if add_to_observation:
            self.observation_space = extend_space(env.observation_space, discount_space(gamma))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._tell(obs, info, self.gamma)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        obs, info = self._tell(obs, info, 0.0 if terminated else self.gamma)
        return obs, reward, terminated, truncated, info

    def _tell(self, obs: Any, info: dict[str, Any], discount: float) -> tuple[Any, dict[str, Any]]:
        info = {**info, "discount": discount}
        if self.add_to_observation:
            obs = extend(obs, Discount(full((1,), discount, first_array(obs))))
        return obs, info


class Discount(NamedTuple):
    """What is added to an observation, or the space of it."""

    discount: Any


def discount_space(gamma: float) -> Discount:
    """Give the space of discounts from 0 to gamma."""
    return Discount(spaces.Box(0, gamma, (1,), np.float32))


def full(shape: tuple[int, ...], value: float, like: Array) -> Array:
    """
    Make a float32 array of one value.

    :param like: a tensor, to make a tensor on its device; anything else makes a numpy array
    """
    if isinstance(like, th.Tensor):
        return th.full(shape, value, dtype=th.float32, device=like.device)
    return np.full(shape, value, np.float32)


def check_gamma(gamma: float) -> None:
    """
    Refuse discounts that are none.

    :raises ValueError: outside [0, 1]
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"{gamma=} is no discount. Expected a number from 0 to 1, such as 0.99.")
