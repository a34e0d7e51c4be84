"""An environment of certain shapes and nothing else."""

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: Spaces of observations: those of dm_control's walker-walk.
OBSERVATIONS: dict[str, spaces.Box] = {
    "vector": spaces.Box(-np.inf, np.inf, (24,), np.float32),
    "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
}
#: Images of Atari as DreamerV2 sees them: gray.
GRAY = spaces.Box(0, 255, (64, 64, 1), np.uint8)
#: Spaces of actions by kind of task: those of walker-walk, and all of Atari's.
ACTIONS: dict[str, spaces.Space] = {
    "control": spaces.Box(-1, 1, (6,), np.float32),
    "atari": spaces.Discrete(18),
}


class Synthetic(gym.Env):
    """
    Random observations and rewards, episodes of 500 steps.

    :param obs: ``vector`` or ``image``
    :param task: ``control``: six continuous actions; ``atari``: 18 discrete ones, gray images
    :param milliseconds: that a step takes, without computing anything
    """

    def __init__(self, obs: str, task: str = "control", milliseconds: float = 0.0) -> None:
        self.milliseconds = milliseconds
        gray = obs == "image" and task == "atari"
        self.observation_space = GRAY if gray else OBSERVATIONS[obs]
        self.action_space = ACTIONS[task]
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> Any:
        if self.milliseconds:
            time.sleep(self.milliseconds / 1000)
        self.age += 1
        reward = float(np.ravel(action)[0])
        return self.observation_space.sample(), reward, False, self.age == 500, {}
