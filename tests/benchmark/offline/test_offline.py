"""Worlds from recorded data: what is recorded and when, what a seed leaves, and how it goes on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamzoo import DreamerV3
from dreamzoo.benchmark.offline import TASKS, OfflineTask, behavior, record_behavior, worlds
from dreamzoo.benchmark.offline.results import (
    COLUMNS,
    errors_table,
    read_rows,
    returns_table,
    write_rows,
)
from dreamzoo.benchmark.offline.rows import Earned, HeldOut
from dreamzoo.benchmark.offline.worlds import read_outcome, run_seed
from dreamzoo.common.recording import Recording
from dreamzoo.envs import make_env
from dreamzoo.offline import read_minari

TINY = OfflineTask(
    "CartPole-v1",
    behavior="ppo",
    behavior_envs=2,
    behavior_kwargs=dict(n_steps=8, batch_size=16, n_epochs=1),
    moments=(0, 16, 48),
    episodes_each=2,
    updates=3,
    model_kwargs=dict(**DreamerV3.smallest, learning_rate=1e-3),
    dream_horizon=4,
    dream_steps=16,
    n_dreams=2,
    ppo_kwargs=dict(n_steps=8, batch_size=16, n_epochs=1),
    real_episodes=3,
    episode_steps=6,
    dataset="test/tiny-v0",
)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return read_minari(record_behavior(TINY))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_fifty_episodes_of_a_mixed_policy_are_recorded(task: OfflineTask) -> None:
    assert task.episodes == 50
    assert task.moments[0] == 0
    assert sorted(set(task.moments)) == list(task.moments)
    DreamerV3("MlpPolicy", make_env("CartPole-v1"), **task.model_kwargs)


class Steps:
    """An agent that has learned nothing but how many steps it was trained for."""

    def __init__(self) -> None:
        self.num_timesteps = 0

    def learn(self, steps: int, reset_num_timesteps: bool) -> None:
        assert not reset_num_timesteps
        self.num_timesteps += steps

    def predict(self, obs: np.ndarray) -> tuple[int, None]:
        return {16: 0, 48: 1}[self.num_timesteps], None


def test_a_behavior_is_recorded_as_it_is_at_its_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr(behavior, "make_sb3", lambda *_, **__: Steps())
    recording = read_minari(record_behavior(TINY, seed=3))
    assert len(recording) == TINY.episodes == 6
    acted = [set(np.unique(episode.actions)) for episode in recording]
    assert acted == [{0, 1}, {0, 1}, {0}, {0}, {1}, {1}]
    starts = [episode.observations[0].tolist() for episode in recording]
    real = make_env("CartPole-v1")
    assert starts == [real.reset(seed=seed)[0].tolist() for seed in range(3, 9)]
    monkeypatch.setattr(behavior, "make_sb3", None)  # a second call reads what is there
    again = read_minari(record_behavior(TINY, seed=3))
    assert [e.actions.tolist() for e in again] == [e.actions.tolist() for e in recording]


def test_a_seed_says_what_everyone_has_earned(recording: Recording, tmp_path: Path) -> None:
    outcome = run_seed(TINY, recording, 1, tmp_path / "1")
    assert repr(outcome) == repr(read_outcome(tmp_path / "1"))  # nan is not nan
    earned = {row.who: row for row in outcome.earned}
    assert earned.keys() == COLUMNS.keys()
    training, held_out = recording.split(0.9, 1)
    assert {(r.task, r.seed, r.updates, r.dream_steps) for r in outcome.earned} == {
        ("CartPole-v1", 1, 3, 16)
    }
    assert {row.real_steps for row in outcome.earned} == {training.steps}
    returns = recording.returns
    assert earned["behavior"].mean_return == pytest.approx(returns.mean(), abs=0.01)
    assert earned["best_episode"].mean_return == returns.max()
    assert earned["promised"].mean_return < 2 * TINY.episode_steps
    assert earned["ppo_in_dream"].episodes == 3
    horizons = [row.horizon for row in outcome.errors if row.part == "reward"]
    assert horizons == list(range(1, len(horizons) + 1))
    assert len(horizons) <= max(held_out.lengths)


def test_a_seed_goes_on_where_it_was_stopped(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_seed(TINY, recording, 0, tmp_path / "whole")
    folder = tmp_path / "cut"
    run_seed(replace(TINY, updates=2), recording, 0, folder)  # stopped on its way to three
    (folder / "results.json").unlink()
    (folder / "ppo.zip").unlink()
    found = run_seed(TINY, recording, 0, folder)
    assert found.earned == whole.earned
    (folder / "results.json").unlink()
    monkeypatch.setattr(worlds, "train_in_dream", None)  # PPO is read
    assert run_seed(TINY, recording, 0, folder).earned == found.earned
    monkeypatch.setattr(worlds, "learn_world", None)  # all is
    assert run_seed(TINY, recording, 0, folder).earned == found.earned


def test_rows_are_kept_as_they_are(tmp_path: Path) -> None:
    wrong = [HeldOut("Pendulum-v1", 0, 5, "reward", 0.25, math.nan, 64, "abc")]
    earned = [Earned("Pendulum-v1", seed, "random", -9.5, 0.5, 50, 9, 8, 7, "x") for seed in (1, 0)]
    write_rows(tmp_path / "new" / "a.csv", earned)
    assert read_rows(tmp_path / "new" / "a.csv", Earned) == earned[::-1]
    write_rows(tmp_path / "b.csv", wrong)
    (row,) = read_rows(tmp_path / "b.csv", HeldOut)
    assert math.isnan(row.unchanged)
    assert row[:5] == wrong[0][:5]
    with pytest.raises(ValueError, match="has not the columns task, seed, who"):
        read_rows(tmp_path / "b.csv", Earned)


def test_tables_show_what_is_there() -> None:
    row = Earned("a", 0, "random", 20.4, 1.6, 50, 9, 8, 7, "x")
    rows = [row, row._replace(seed=1), row._replace(who="best_episode", half_width=0.0)]
    assert returns_table(rows).splitlines()[2:] == [
        "| a | 0 | 20 +- 2 | 20 |",
        "| a | 1 | 20 +- 2 | - |",
    ]
    error = HeldOut("a", 0, 1, "x", 0.5, 2.0, 9, "x")
    wrong = [error, error._replace(seed=1, predicted=1.5), error._replace(horizon=3)]
    wrong += [error._replace(part="reward", horizon=5, unchanged=math.nan)]
    assert errors_table(wrong).splitlines() == [
        "| task | what | 1 step ahead | 5 steps ahead |",
        "|---|---|---|---|",
        "| a | x | 1 (2) | - |",
        "| a | reward | - | 0.5 |",
    ]
