"""What an agent is compared with, and whether it can be."""

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv


def check_spaces(model: BaseAlgorithm, env: VecEnv) -> None:
    """
    Refuse an environment that a model does not know; images may have their channels first or last.

    :raises ValueError: names both spaces
    """
    seen = model._wrap_env(env, verbose=0, monitor_wrapper=False)
    check_for_correct_spaces(seen, model.observation_space, model.action_space)


def confidence_interval(returns: np.ndarray) -> dict[str, float | None]:
    """Mean and half width of its 95 % confidence interval (normal approximation), if it has one."""
    mean = round(float(returns.mean()), 2)
    if len(returns) < 2:
        return {"mean": mean, "half_width_95": None}
    half = 1.96 * returns.std(ddof=1) / np.sqrt(len(returns))
    return {"mean": mean, "half_width_95": round(float(half), 2)}


class RandomPolicy:
    """
    Act at random, behind the interface that ``evaluate_policy`` takes.

    :param env: whose actions
    """

    def __init__(self, env: VecEnv) -> None:
        self.env = env

    def predict(self, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.stack([self.env.action_space.sample() for _ in range(self.env.num_envs)]), None
