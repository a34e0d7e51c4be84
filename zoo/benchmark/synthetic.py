"""An environment of certain shapes and nothing else."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: Spaces of observations: those of dm_control's walker-walk.
OBSERVATIONS: dict[str, spaces.Box] = {
    "vector": spaces.Box(-np.inf, np.inf, (24,), np.float32),
    "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
}


class Synthetic(gym.Env):
    """
    Random observations and rewards, six continuous actions, episodes of 500 steps.

    :param obs: ``vector`` or ``image``
    """

    def __init__(self, obs: str) -> None:
        self.observation_space = OBSERVATIONS[obs]
        self.action_space = spaces.Box(-1, 1, (6,), np.float32)
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> Any:
        self.age += 1
        return self.observation_space.sample(), float(action[0]), False, self.age == 500, {}
