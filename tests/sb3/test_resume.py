"""A training that is loaded from what ``SaveCallback`` kept goes on as if it had not stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import PlaNet
from dreamzoo.common.callbacks import SaveCallback
from tests.resuming import assert_equal, everything
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

MakeAgent = Callable[..., Any]


class _Crash(BaseCallback):
    """Break off, as a power cut does."""

    def _on_step(self) -> bool:
        if self.num_timesteps >= 58:
            raise KeyboardInterrupt
        return True


def _make_env(n_envs: int) -> DummyVecEnv:
    env = DummyVecEnv([lambda: Monitor(RandomEnv(length=7))] * n_envs)
    env.seed(3)
    return env


def _check(make: Callable[[], Any], n_envs: int, folder: Path) -> None:
    """Compare 70 steps in one go with a run that breaks off and goes on from the last save."""
    whole, broken = make().learn(70), make()
    with pytest.raises(KeyboardInterrupt):
        broken.learn(70, callback=[SaveCallback(folder, every=20), _Crash()])
    again = type(whole).load(folder / "model", env=_make_env(n_envs))
    again.load_replay_buffer(folder / "replay_buffer.pkl")
    assert 40 <= again.num_timesteps < 58
    assert 0 < again._n_updates < whole._n_updates
    again.learn(70 - again.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(again))


@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_run_goes_on_from_its_last_save(
    make_agent: MakeAgent, n_envs: int, tmp_path: Path
) -> None:
    """PlaNet's episode that ends with the saved step counts, DreamerV3's fraction of an update."""
    settings: dict[str, Any] = dict(learning_starts=11, train_ratio=1.0)
    _check(lambda: make_agent(_make_env(n_envs), **settings), n_envs, tmp_path)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_updates_after_every_episode_go_on(n_envs: int, tmp_path: Path) -> None:
    """
    PlaNet's own schedule. Every seventh step of a row ends an episode; the saves of one row at 20,
    40 (not at an end) and those of two at 20 and 42 (at an end) are both covered.
    """
    schedule = dict(
        learning_starts=None, train_ratio=None, seed_episodes=2, collect_interval=3, seed=0
    )
    settings = {**TINY["planet"], **schedule, "policy_kwargs": TINY_POLICY["planet"]}
    _check(lambda: PlaNet("MlpPolicy", _make_env(n_envs), **settings), n_envs, tmp_path)


def test_agents_without_a_replay_are_saved_too(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", _make_env(1), n_steps=16, batch_size=16, n_epochs=1)
    model.learn(48, callback=SaveCallback(tmp_path / "new", every=10))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"model.zip"}
    assert PPO.load(tmp_path / "new" / "model").num_timesteps == 48


def test_every_must_be_a_number_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SaveCallback(tmp_path, every=0)
