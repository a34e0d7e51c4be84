"""Returns, and what they are compared with."""

import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.analysis.evaluation import RandomPolicy, confidence_interval


def test_the_confidence_interval_is_of_the_sample() -> None:
    """Squares around the mean add up to 14: divided by n - 1, not by n."""
    half = round(1.96 * (14 / 3) ** 0.5 / 4**0.5, 2)
    result = confidence_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert result == {"mean": 3.0, "half_width_95": half}
    assert half == 2.12


def test_one_return_has_no_interval() -> None:
    assert confidence_interval(np.array([5.0])) == {"mean": 5.0, "half_width_95": None}


def test_random_policy_is_random() -> None:
    env = make_vec_env("CartPole-v1", n_envs=50, seed=0)
    actions, state = RandomPolicy(env).predict(env.reset())
    assert state is None
    assert set(np.unique(actions)) == {0, 1}
