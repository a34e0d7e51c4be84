"""Logs under the names that SB3's users and their dashboards know."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HParam,
    HumanOutputFormat,
    TensorBoardOutputFormat,
    configure,
)

from tests.facts import HAS_REPLAY, Facts
from tests.resuming import has_replay
from tests.sb3.conftest import of_models

KEYS = {
    "time/fps", "time/time_elapsed", "time/total_timesteps",
    "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate",
    "train/learning_rate", "train/n_updates",
}  # fmt: skip

#: What SB3 keeps out of TensorBoard, whose axes show it already.
TEXT_ONLY = {
    "time/episodes", "time/iterations", "time/time_elapsed", "time/total_timesteps",
    "train/n_updates",
}  # fmt: skip


@pytest.fixture
def keys(agent_name: str, facts: Facts) -> set[str]:
    """What a log holds: SB3 counts episodes off-policy, and collections on-policy."""
    counted = "time/episodes" if agent_name in HAS_REPLAY else "time/iterations"
    return KEYS | facts.losses | {counted}


class HyperParameters(BaseCallback):
    """Logs what TensorBoard's page of hyperparameters shows."""

    def _on_training_start(self) -> None:
        settings = {"algorithm": type(self.model).__name__, "gamma": self.model.gamma}  # type: ignore[attr-defined]
        hparam = HParam(settings, {"rollout/ep_len_mean": 0.0})
        self.logger.record("hparams", hparam, exclude=("stdout", "log", "json", "csv"))

    def _on_step(self) -> bool:
        return True


def test_formats_hold_sb3s_keys(
    make_agent: Any, keys: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = make_agent()
    agent.set_logger(configure(str(tmp_path), ["stdout", "csv", "json", "log"]))
    agent.learn(40, log_interval=1)
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[-1]) >= keys
    lines = (tmp_path / "progress.json").read_text().splitlines()
    last = json.loads(lines[-1])
    assert set(last) >= keys
    assert last["time/total_timesteps"] == 40
    assert last["rollout/ep_len_mean"] == 10
    assert last["rollout/success_rate"] == 1.0
    printed = capsys.readouterr().out
    assert "ep_rew_mean" in printed
    assert "n_updates" in printed
    assert (tmp_path / "log.txt").stat().st_size > 0


def test_tensorboard(make_agent: Any, keys: set[str], agent_class: Any, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    # Of windows one line each; of replays one when an episode is over.
    every = {} if has_replay(agent_class) else {"n_steps": 10}
    agent = make_agent(tensorboard_log=str(tmp_path), **every)
    agent.learn(20, callback=HyperParameters(), log_interval=1)
    agent.learn(20, reset_num_timesteps=False, log_interval=1)
    agent.learn(10)
    agent.learn(10, tb_log_name="named")
    name = agent_class.__name__
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}_1", f"{name}_2", "named_1"}
    events = reader.EventAccumulator(str(tmp_path / f"{name}_1"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= keys - TEXT_ONLY
    # In the order of writing: TensorBoard reads files of one second by name, and so 10 before 9.
    written = sorted(events.Scalars("rollout/ep_len_mean"), key=lambda event: event.wall_time)
    assert [event.step for event in written] == [10, 20, 30, 40]


def test_what_is_printed_follows_verbose(make_agent: Any) -> None:
    assert make_agent().learn(4).logger.output_formats == []
    formats = make_agent(verbose=1).learn(4).logger.output_formats
    assert [type(output) for output in formats] == [HumanOutputFormat]


def test_a_logger_of_the_user_stays(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(verbose=1)
    agent.set_logger(configure(str(tmp_path), ["csv", "tensorboard"]))
    agent.learn(4).learn(4)
    formats = [type(output) for output in agent.logger.output_formats]
    assert formats == [CSVOutputFormat, TensorBoardOutputFormat]


@pytest.mark.parametrize("window", [1, 3])
def test_returns_are_averaged_over_a_window(make_agent: Any, still: Any, window: int) -> None:
    agent = make_agent(stats_window_size=window, **still(50)).learn(50)
    assert len(agent.ep_info_buffer) == agent.ep_info_buffer.maxlen == window
    assert agent.ep_success_buffer.maxlen == window


def test_a_clock_that_stands_still_is_survived(
    make_agent: Any, still: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 42)
    assert make_agent(**still(10)).learn(10, log_interval=1).num_timesteps == 10


@of_models
def test_long_keys_of_a_dict_do_not_stop_the_log(
    make_agent: Any, make_env: Any, tmp_path: Path
) -> None:
    """SB3's tables cut both names to the same, and refuse that."""
    part = spaces.Box(-1, 1, (2,))
    names = [f"robot0_end_effector_position_{axis}" for axis in "xy"]
    agent = make_agent(make_env(spaces.Dict(dict.fromkeys(names, part))), "MultiInputPolicy")
    agent.set_logger(configure(str(tmp_path), ["stdout", "log", "csv"]))
    agent.learn(40, log_interval=1)
    written = (tmp_path / "progress.csv").read_text()
    assert all(f"train/recon_{name}_loss" in written for name in names)
