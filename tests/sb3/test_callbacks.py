"""Callbacks that SB3 users have, unchanged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from tests.resuming import has_replay


class Steps(BaseCallback):
    """Stops after ``limit`` steps."""

    def __init__(self, limit: int = 10**6) -> None:
        super().__init__()
        self.limit = limit

    def _on_step(self) -> bool:
        return self.n_calls < self.limit


def test_lists_and_functions_are_callbacks(make_agent: Any) -> None:
    one, two = Steps(), Steps()
    agent = make_agent().learn(8, callback=[one, two])
    assert one.n_calls == two.n_calls == 8
    calls = []
    agent.learn(8, callback=lambda locals_, globals_: calls.append(locals_) or True)  # type: ignore[func-returns-value]
    assert len(calls) == 8


@pytest.mark.parametrize("limit", [1, 5])
def test_a_callback_can_stop_the_training(make_agent: Any, limit: int) -> None:
    steps = Steps(limit)
    agent = make_agent().learn(20, callback=steps)
    assert steps.n_calls == agent.num_timesteps == limit
    agent.learn(20, reset_num_timesteps=False)
    assert agent.num_timesteps == limit + 20


def test_the_progress_bar(make_agent: Any) -> None:
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    assert make_agent().learn(8, progress_bar=True).num_timesteps == 8


def test_evaluations_are_logged_and_the_best_model_is_kept(
    make_agent: Any, make_env: Any, tmp_path: Path
) -> None:
    evaluation = EvalCallback(
        Monitor(make_env()),
        n_eval_episodes=2,
        eval_freq=10,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    agent = make_agent().learn(20, callback=evaluation)
    results = np.load(tmp_path / "evaluations.npz")
    assert results["timesteps"].tolist() == [10, 20]
    assert results["results"].shape == (2, 2)
    best = type(agent).load(tmp_path / "best_model")
    assert best.num_timesteps in (10, 20)


def test_checkpoints_hold_agent_replay_and_statistics(make_agent: Any, tmp_path: Path) -> None:
    env = VecNormalize(make_agent(n_envs=2).get_env())
    checkpoint = CheckpointCallback(
        10, str(tmp_path), save_replay_buffer=True, save_vecnormalize=True
    )
    agent = make_agent(env).learn(20, callback=checkpoint)
    loaded = type(agent).load(tmp_path / "rl_model_20_steps")
    if has_replay(agent):
        loaded.load_replay_buffer(tmp_path / "rl_model_replay_buffer_20_steps.pkl")
        assert loaded.replay_buffer.size() == 9  # a callback runs before its step is stored
    VecNormalize.load(str(tmp_path / "rl_model_vecnormalize_20_steps.pkl"), env.venv)


def test_every_n_timesteps(make_agent: Any, tmp_path: Path) -> None:
    checkpoint = CheckpointCallback(1, str(tmp_path), name_prefix="event")
    make_agent().learn(20, callback=EveryNTimesteps(10, checkpoint))
    assert {path.name for path in tmp_path.iterdir()} == {
        "event_10_steps.zip",
        "event_20_steps.zip",
    }


def test_logging_every_n_timesteps(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent()
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(20, callback=LogEveryNTimesteps(5), log_interval=None)
    rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert len(rows) == 5  # the header, then steps 5, 10, 15, 20


def test_stop_after_episodes(make_agent: Any) -> None:
    agent = make_agent(n_envs=2).learn(200, callback=StopTrainingOnMaxEpisodes(2))
    assert agent.num_timesteps == 40  # two of ten steps in each environment


@pytest.mark.parametrize("best", [True, False])
def test_stop_on_evaluations(make_agent: Any, make_env: Any, best: bool) -> None:
    enough = StopTrainingOnRewardThreshold(reward_threshold=-1e6)
    stale = StopTrainingOnNoModelImprovement(max_no_improvement_evals=0, min_evals=1)
    evaluation = EvalCallback(
        Monitor(make_env()),
        eval_freq=5,
        callback_on_new_best=enough if best else None,
        callback_after_eval=None if best else stale,
        verbose=0,
    )
    # What does not learn does not get better either.
    agent = make_agent(learning_rate=0.0).learn(100, callback=evaluation)
    assert agent.num_timesteps < 100
