"""What an agent is compared with."""

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv


class RandomPolicy:
    """
    Act at random, behind the interface that ``evaluate_policy`` takes.

    :param env: whose actions
    """

    def __init__(self, env: VecEnv) -> None:
        self.env = env

    def predict(self, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.stack([self.env.action_space.sample() for _ in range(self.env.num_envs)]), None
