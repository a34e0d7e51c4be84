"""Returns, and what they are compared with."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import RLLSTM
from dreamzoo.analysis.evaluation import RandomPolicy, confidence_interval
from dreamzoo.analysis.playing import play_sequences


def test_the_confidence_interval_is_of_the_sample() -> None:
    """Squares around the mean add up to 14: divided by n - 1, not by n."""
    half = round(1.96 * (14 / 3) ** 0.5 / 4**0.5, 2)
    result = confidence_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert result == {"mean": 3.0, "half_width_95": half}
    assert half == 2.12


def test_one_return_has_no_interval() -> None:
    assert confidence_interval(np.array([5.0])) == {"mean": 5.0, "half_width_95": None}


def test_sequences_are_played_with_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """By agents that listen; CartPole gives 1 for every step."""
    env, heard = make_vec_env("CartPole-v1", n_envs=2), []
    agent: Any = RLLSTM("MlpPolicy", env, seed=0, **RLLSTM.smallest)
    predict, names = agent.predict, agent.policy.memory.names

    def note_what_is_heard(obs: Any, state: Any, starts: Any) -> Any:
        if state is not None:
            heard.append([state[names.index(name)].tolist() for name in ("reward", "told")])
        return predict(obs, state, starts)

    monkeypatch.setattr(agent, "predict", note_what_is_heard)
    play_sequences(agent, env, length=6)
    assert heard == [[[[1.0], [1.0]], [[1.0], [1.0]]]] * 5


def test_random_policy_is_random() -> None:
    env = make_vec_env("CartPole-v1", n_envs=50, seed=0)
    actions, state = RandomPolicy(env).predict(env.reset())
    assert state is None
    assert set(np.unique(actions)) == {0, 1}
