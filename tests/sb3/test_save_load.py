"""Saving: zip files, parameters, policies and replay buffers."""

import gc
import inspect
import io
import json
import os
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.envs.dreams.load_model import load_model
from tests.resuming import has_replay, load_state, save
from tests.sb3.conftest import of_models, of_replays
from tests.sb3.stored import numbers

OBS = np.array([[0.5, -0.5, 1.0], [-1.0, 0.2, 0.0]], np.float32)


@pytest.fixture
def trained(make_agent: Any) -> Any:
    agent = make_agent(learning_rate=1e-3).learn(24)
    assert agent._n_updates > 0
    return agent


@pytest.fixture
def saved(trained: Any, tmp_path: Path) -> Path:
    trained.save(tmp_path / "agent")
    return tmp_path / "agent.zip"


# ---------------------------------------------------------------------- the zip file


def test_files_in_the_zip(saved: Path) -> None:
    names = set(zipfile.ZipFile(saved).namelist())
    assert {"data", "policy.pth", "pytorch_variables.pth", "_stable_baselines3_version"} <= names
    assert any("optimizer" in name for name in names)


def test_weights_load_without_pickled_code(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        for name in archive.namelist():
            if name.endswith(".pth"):
                th.load(io.BytesIO(archive.read(name)), weights_only=True)


def test_data_holds_settings_and_nothing_that_is_large(saved: Path, trained: Any) -> None:
    data = json.loads(zipfile.ZipFile(saved).read("data"))
    assert data["gamma"] == trained.gamma
    assert data["num_timesteps"] == 24
    assert not {"policy", "replay_buffer", "env", "device", "_last_state", "_generator"} & set(data)
    assert not any("torch" in json.dumps(value) for name, value in data.items() if name[0] == "_")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system does not list open files")
def test_no_file_stays_open(trained: Any, tmp_path: Path) -> None:
    def work() -> None:
        save(trained, tmp_path)
        load_state(trained, tmp_path)
        given = {"policy_kwargs": trained.policy_kwargs}
        type(trained).load(tmp_path / "model", custom_objects=given)
        with pytest.raises(ValueError, match="policy kwargs"):
            type(trained).load(tmp_path / "model", custom_objects={"policy_kwargs": {}})

    work()
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/dev/fd"))
        work()
        assert len(os.listdir("/dev/fd")) == before
    finally:
        gc.enable()


def test_files_of_the_user_are_neither_closed_nor_replaced(trained: Any, tmp_path: Path) -> None:
    kept = "replay_buffer" if has_replay(trained) else "training_state"
    for saving, loading, name in [
        (trained.save, type(trained).load, "agent"),
        (getattr(trained, f"save_{kept}"), getattr(trained, f"load_{kept}"), "kept"),
    ]:
        with (tmp_path / name).open("wb") as file:
            saving(file)
            assert not file.closed
        with (tmp_path / name).open("rb") as file:
            loading(file)
            assert not file.closed
    assert {path.name for path in tmp_path.iterdir()} == {"agent", "kept"}


def test_settings_are_left_out_and_put_back(trained: Any, tmp_path: Path) -> None:
    trained.verbose = 2
    trained.save(tmp_path / "without", exclude=["verbose"])
    trained.save(tmp_path / "with", exclude=["verbose"], include=["verbose"])
    assert type(trained).load(tmp_path / "without").verbose == 0
    assert type(trained).load(tmp_path / "with").verbose == 2


def test_schedules_are_kept(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(learning_rate=lambda progress: progress * np.sin(1.0))
    agent.save(tmp_path / "agent")
    with pytest.warns(UserWarning, match=r"holds learning_rate \(function\) as code of its author"):
        loaded = type(agent).load(tmp_path / "agent")
    default = inspect.signature(type(agent)).parameters["learning_rate"].default
    assert loaded.lr_schedule(0.5) == default
    loaded = type(agent).load(tmp_path / "agent", trusted=True)
    assert type(loaded.lr_schedule(0.5)) is float
    assert loaded.lr_schedule(0.5) == pytest.approx(0.5 * np.sin(1.0))


def test_other_networks_than_saved_are_refused(saved: Path, trained: Any) -> None:
    with pytest.raises(ValueError, match="policy kwargs"):
        type(trained).load(saved, policy_kwargs={"size": "1m"})


def test_compiled_policies_are_saved_as_they_were(
    trained: Any, tmp_path: Path, same_parameters: Callable[..., bool]
) -> None:
    before = deepcopy(trained.policy.state_dict())
    trained.policy = th.compile(trained.policy)
    trained.save(tmp_path / "agent")
    loaded = type(trained).load(tmp_path / "agent").policy.state_dict()
    assert all(th.equal(before[name], loaded[name]) for name in before)


# ---------------------------------------------------------------------- going on


def test_another_environment_starts_new_episodes(trained: Any, make_env: Any) -> None:
    trained.set_env(make_env())
    assert trained._last_obs is None
    assert trained.learn(8).num_timesteps == 8
    trained.set_env(trained.get_env(), force_reset=False)
    assert trained._last_obs is not None
    assert trained.learn(8, reset_num_timesteps=False).num_timesteps == 16


def test_another_number_of_environments_needs_loading(trained: Any, make_env: Any) -> None:
    with pytest.raises(AssertionError, match="number of environments"):
        trained.set_env(DummyVecEnv([make_env] * 2))


# ---------------------------------------------------------------------- parameters


def test_parameters_must_match_exactly(trained: Any) -> None:
    parameters = deepcopy(trained.get_parameters())
    assert next(iter(parameters)) == "policy"
    assert all("optimizer" in name for name in list(parameters)[1:])
    last = next(reversed(parameters["policy"]))
    without_tensor = {k: v for k, v in parameters["policy"].items() if k != last}
    for wrong, error in [
        ({**parameters, "stranger": {}}, ValueError),
        ({"policy": parameters["policy"]}, ValueError),
        ({**parameters, "policy": without_tensor}, RuntimeError),
    ]:
        with pytest.raises(error):
            trained.set_parameters(wrong, exact_match=True)
    with pytest.raises(ValueError, match="stranger"):
        trained.set_parameters({"stranger": {}}, exact_match=False)


def test_a_part_of_the_parameters_can_be_set(trained: Any) -> None:
    # Every entry is a float tensor, or this would fail, as SB3's tests would.
    random = {name: th.rand_like(x) for name, x in trained.policy.state_dict().items()}
    kept, before = random.popitem()[0], deepcopy(trained.policy.state_dict())
    trained.set_parameters({"policy": random}, exact_match=False)
    after = trained.policy.state_dict()
    assert th.equal(after[kept], before[kept])
    assert all(th.equal(after[name], random[name]) for name in random)
    assert np.isfinite(trained.predict(OBS, deterministic=True)[0]).all()


# ---------------------------------------------------------------------- the replay buffer


@of_replays
def test_replay_buffers_come_back(trained: Any, tmp_path: Path) -> None:
    assert isinstance(trained.replay_buffer, ReplayBuffer)
    before = deepcopy(trained.replay_buffer)
    trained.save_replay_buffer(tmp_path / "replay.pkl")
    trained.replay_buffer = None
    trained.load_replay_buffer(tmp_path / "replay.pkl")
    after = trained.replay_buffer
    for name in ("observations", "actions", "rewards", "dones", "timeouts", "episode_starts"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
    assert (after.pos, after.full) == (before.pos, before.full)
    trained.learn(12, reset_num_timesteps=False)


@of_replays
def test_replay_buffers_can_be_extended(make_agent: Any) -> None:
    """As SB3's: transitions one after the other, here behind the five steps that are there."""
    buffer, rng = make_agent().learn(5).replay_buffer, np.random.default_rng(0)
    observations, following = rng.uniform(-1, 1, (2, 12, 1, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, (12, 1, 2)).astype(np.float32)
    rewards, dones = rng.normal(size=(12, 1)), np.zeros((12, 1), bool)
    dones[[4, 9]] = True
    infos = [[{"TimeLimit.truncated": step == 4}] for step in range(12)]
    buffer.extend(observations, following, actions, rewards, dones, infos)
    assert buffer.size() == 5 + 12 + 2  # both last observations have records of their own

    def stored(name: str) -> np.ndarray:
        return getattr(buffer, name)[5:19, 0]

    last = [5, 11]  # among the fourteen new records
    steps = np.delete(np.arange(14), last)
    np.testing.assert_array_equal(stored("observations")[steps], observations[:, 0])
    np.testing.assert_array_equal(stored("observations")[last], following[[4, 9], 0])
    np.testing.assert_array_equal(stored("actions")[steps], actions[:, 0])
    assert not stored("actions")[last].any()
    # Every reward lies one record behind its action; at the start of an episode there is none.
    np.testing.assert_allclose(stored("rewards")[1:6], rewards[:5, 0], rtol=1e-6)
    np.testing.assert_allclose(stored("rewards")[7:12], rewards[5:10, 0], rtol=1e-6)
    assert stored("rewards")[[6, 12]].tolist() == [0.0, 0.0]
    assert np.flatnonzero(stored("dones")).tolist() == last
    assert np.flatnonzero(stored("timeouts")).tolist() == last[:1]
    assert np.flatnonzero(stored("episode_starts")).tolist() == [6, 12]


@of_replays
@pytest.mark.parametrize("optimize", [True, False])
def test_cutting_the_last_trajectory_is_announced(
    make_agent: Any, recwarn: pytest.WarningsRecorder, optimize: bool
) -> None:
    keywords = {"handle_timeout_termination": not optimize}
    agent = make_agent(optimize_memory_usage=optimize, replay_buffer_kwargs=keywords)
    agent.learn(12).learn(12, reset_num_timesteps=False)
    assert not _truncations(recwarn)
    agent.learn(12)
    assert len(_truncations(recwarn)) == optimize


def _truncations(warnings: pytest.WarningsRecorder) -> list[str]:
    messages = [str(warning.message) for warning in warnings.list]
    return [message for message in messages if "will be truncated" in message]


@of_replays
def test_a_loaded_replay_samples_windows_of_the_agents_length(
    make_agent: Any, tmp_path: Path
) -> None:
    agent = make_agent().learn(30)
    agent.save(tmp_path / "model")
    agent.save_replay_buffer(tmp_path / "replay")
    again = type(agent).load(tmp_path / "model", env=agent.env, batch_length=6)
    again.load_replay_buffer(tmp_path / "replay")
    assert again.replay_buffer.sample(2).rewards.shape == (2, 6)
    again.learn(20, reset_num_timesteps=False)


@of_models
def test_models_whose_names_have_points_are_told_apart(make_agent: Any, tmp_path: Path) -> None:
    for steps, name in [(4, "run_1"), (8, "run_1.5")]:
        make_agent().learn(steps).save(tmp_path / f"{name}.zip")
    assert load_model(tmp_path / "run_1.5").num_timesteps == 8


def test_one_seed_for_two_agents_collects_the_same(make_agent: Any, still: Any) -> None:
    one, two = (make_agent(seed=None, **still(12)) for _ in range(2))
    two.policy.load_state_dict(one.policy.state_dict())
    kept = []
    for agent in (one, two):
        agent.set_random_seed(3)
        env = agent.get_env()
        env.seed(3)
        agent.learn(12)
        kept.append([x.copy() for x in numbers(agent)])
        if has_replay(agent):
            kept[-1].append(agent.replay_buffer.sample(5).actions.numpy())
    for left, right in zip(*kept, strict=True):
        np.testing.assert_array_equal(left, right)
