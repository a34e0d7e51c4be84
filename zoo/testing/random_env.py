"""An environment of any spaces that costs nothing to step."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTION = spaces.Box(-1.0, 1.0, (2,), np.float32)


class RandomEnv(gym.Env):
    """
    Shows random members of any space and rewards the first number of the action.

    Every episode ends as a success.

    Example:
        >>> from dreamzoo.testing import RandomEnv
        >>> env = RandomEnv(length=2)
        >>> obs, info = env.reset(seed=0)
        >>> [env.step(env.action_space.sample())[2] for _ in range(2)]
        [False, True]

    :param observation_space: what it shows
    :param action_space: what it takes; anything else is refused
    :param length: steps of an episode
    """

    def __init__(
        self,
        observation_space: spaces.Space = VECTOR,
        action_space: spaces.Space = ACTION,
        length: int = 10,
    ) -> None:
        # Spaces hold a random generator, which environments must not share.
        self.observation_space = deepcopy(observation_space)
        self.action_space = deepcopy(action_space)
        self.length = length
        self.actions: list[Any] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """
        Begin an episode.

        :param seed: of the observations; None: they go on
        :param options: ignored
        :return: observation and info
        """
        if seed is not None:
            self.observation_space.seed(seed)
        self.actions.clear()
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        Take an action.

        :param action: a member of the action space
        :return: observation, reward, terminated, truncated, info
        :raises ValueError: if it is no member
        """
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is no member of {self.action_space}")
        self.actions.append(action)
        done = len(self.actions) == self.length
        info = {"is_success": True} if done else {}
        return self.observation_space.sample(), float(np.ravel(action)[0]), done, False, info
