"""Learning from a replay that was collected before, without an environment and without learn()."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from tests.facts import HAS_REPLAY


@pytest.fixture(params=HAS_REPLAY)
def agent_name(request: pytest.FixtureRequest) -> str:
    """Not every agent: those that have a replay."""
    return request.param


@pytest.fixture
def replay(make_agent: Any, tmp_path: Path) -> Path:
    make_agent(gradient_steps=0).learn(24).save_replay_buffer(tmp_path / "replay")
    return tmp_path / "replay"


def test_a_fresh_agent_learns_from_a_replay(make_agent: Any, replay: Path) -> None:
    agent = make_agent()
    agent.load_replay_buffer(replay)
    before = [p.clone() for p in agent.policy.parameters()]
    agent.train(3)
    assert agent._n_updates == 3
    assert any(not th.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    assert agent.logger.name_to_value["train/n_updates"] == 3
    assert np.isfinite(list(agent.logger.name_to_value.values())).all()
    agent.learn(8)
    assert agent.num_timesteps == 8
    assert agent.replay_buffer.size() > 24


def test_a_loaded_agent_needs_no_environment(make_agent: Any, replay: Path, tmp_path: Path) -> None:
    make_agent().save(tmp_path / "agent")
    agent = type(make_agent()).load(tmp_path / "agent")
    assert agent.env is None
    agent.load_replay_buffer(replay)
    agent.train(2)
    assert agent._n_updates == 2


def test_batches_are_of_the_agents_size_unless_told_otherwise(
    make_agent: Any, replay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(batch_size=3)
    agent.load_replay_buffer(replay)
    rows: list[int] = []
    update = agent._update

    def counted(batch: Any) -> Any:
        rows.append(len(batch.rewards))
        return update(batch)

    monkeypatch.setattr(agent, "_update", counted)
    agent.train(2)
    agent.train(1, 5)
    assert rows == [3, 3, 5]


@pytest.mark.parametrize("disabled", [th.no_grad, th.inference_mode])
def test_updates_without_gradients_are_refused(
    make_agent: Any, replay: Path, disabled: Any
) -> None:
    agent = make_agent()
    agent.load_replay_buffer(replay)
    with disabled(), pytest.raises(RuntimeError, match=r"outside of torch\.no_grad"):
        agent.train(1)
    agent.train(1)


def test_the_log_goes_where_the_user_says(make_agent: Any, replay: Path, tmp_path: Path) -> None:
    agent = make_agent()
    agent.load_replay_buffer(replay)
    agent.set_logger(configure(str(tmp_path / "log"), ["csv"]))
    agent.train(1)
    agent.logger.dump()
    assert "train/n_updates" in (tmp_path / "log" / "progress.csv").read_text()


def test_what_is_missing_is_named(make_agent: Any, tmp_path: Path, replay: Path) -> None:
    agent = make_agent()
    with pytest.raises(ValueError, match="replay buffer is empty: collect"):
        agent.train(1)
    agent.load_replay_buffer(replay)
    for steps, size, name in [(-1, None, "gradient_steps"), (1, 0, "batch_size"), (1.0, 2, "grad")]:
        with pytest.raises(ValueError, match=rf"train\(\): {name}.*=.* must be at least"):
            agent.train(steps, size)
    agent.batch_length = "long"
    with pytest.raises(ValueError, match="batch_length='long' must be at least 1"):
        agent.train(1)
    assert agent._n_updates == 0


def test_statistics_that_are_missing_are_asked_for(
    make_agent: Any, make_env: Any, tmp_path: Path
) -> None:
    agent = make_agent(VecNormalize(DummyVecEnv([make_env])), gradient_steps=0).learn(24)
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    again = type(agent).load(tmp_path / "agent")
    again.load_replay_buffer(tmp_path / "replay")
    with pytest.raises(ValueError, match=r"learned behind a VecNormalize.*load"):
        again.train(1)
    again = type(agent).load(tmp_path / "agent", env=agent.env)
    again.load_replay_buffer(tmp_path / "replay")
    again.train(1)
    assert again._n_updates == 1
