"""Environments that are stepped together, and not all at the same place."""

import operator
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np


class StaggeredStart(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Truncate the first episode after a random number of steps; all later ones are as they are.

    Where episodes are of one length, environments that begin together stay together: every update
    of an agent on SB3's on-policy loop then sees the same few steps of the task from all of them,
    the next update the next few. With this they are at all places from the first window on.

    Example:
        >>> from dreamzoo.envs import TMaze
        >>> from dreamzoo.wrappers import StaggeredStart
        >>> env = StaggeredStart(TMaze(length=50), max_steps=51)
        >>> _ = env.reset(seed=3)
        >>> lengths = []
        >>> for _ in range(2):
        ...     length, done = 0, False
        ...     while not done:
        ...         _, _, terminated, truncated, _ = env.step(0)
        ...         length, done = length + 1, terminated or truncated
        ...     lengths.append(length)
        ...     _ = env.reset()
        >>> lengths
        [42, 51]

    :param env: environment
    :param max_steps: at most so many steps has the first episode, and at least two, unless it ends
        by itself; the length of an episode is a good choice
    :raises ValueError: for less than two
    :raises TypeError: for what is no whole number
    """

    def __init__(self, env: gym.Env, max_steps: int) -> None:
        if operator.index(max_steps) < 2:
            raise ValueError(f"max_steps must be at least 2, not {max_steps}.")
        gym.utils.RecordConstructorArgs.__init__(self, max_steps=max_steps)
        gym.Wrapper.__init__(self, env)
        self.max_steps = max_steps
        self._left: int | None = None  # steps of the first episode; 0 when it is over
        self._stepped = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """
        Begin an episode; until one step is taken, it is the first.

        :param seed: of the environment, and of when its first episode ends
        :param options: of the environment
        """
        if self._left is None or seed is not None:
            self._left = int(np.random.default_rng(seed).integers(2, self.max_steps + 1))
        elif self._stepped:
            self._left = 0
        self._stepped = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """
        Take a step.

        :param action: of the environment
        """
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._stepped = True
        if self._left:
            self._left -= 1
            truncated = truncated or (self._left == 0 and not terminated)
        return obs, reward, terminated, truncated, info
