"""A training that is loaded from what ``SaveCallback`` kept goes on as if it had not stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils import EzPickle
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

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


#: Steps between saves: the last before the crash lies inside an episode, or at the end of one.
EVERY = {20: 40, 14: 56}


def _check(make: Callable[[], Any], n_envs: int, every: int, folder: Path) -> None:
    """Compare 70 steps in one go with a run that breaks off and goes on from the last save."""
    assert (EVERY[every] % (7 * n_envs) == 0) == (every == 14)
    whole, broken = make().learn(70), make()
    with pytest.raises(KeyboardInterrupt):
        broken.learn(70, callback=[SaveCallback(folder, every), _Crash()])
    again = type(whole).load(folder / "model", env=_make_env(n_envs))
    again.load_replay_buffer(folder / "replay_buffer.pkl")
    assert again.num_timesteps == EVERY[every]
    assert 0 < again._n_updates < whole._n_updates
    again.learn(70 - again.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(again))


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_run_goes_on_from_its_last_save(
    make_agent: MakeAgent, n_envs: int, every: int, tmp_path: Path
) -> None:
    """With the fraction of an update that was left over."""
    settings: dict[str, Any] = dict(learning_starts=11, train_ratio=1.0)
    _check(lambda: make_agent(_make_env(n_envs), **settings), n_envs, every, tmp_path)


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_updates_after_every_episode_go_on(n_envs: int, every: int, tmp_path: Path) -> None:
    """PlaNet's own schedule: an episode that ends with the saved step has had its updates."""
    schedule = dict(
        learning_starts=None, train_ratio=None, seed_episodes=2, collect_interval=3, seed=0
    )
    settings = {**TINY["planet"], **schedule, "policy_kwargs": TINY_POLICY["planet"]}
    _check(lambda: PlaNet("MlpPolicy", _make_env(n_envs), **settings), n_envs, every, tmp_path)


def test_noise_with_a_memory_goes_on(make_agent: MakeAgent, tmp_path: Path) -> None:
    """SB3 resets the process of the noise at every call of learn()."""

    def make() -> Any:
        noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.5 * np.ones(2))
        return make_agent(_make_env(1), action_noise=noise, learning_starts=11, train_ratio=1.0)

    _check(make, 1, 20, tmp_path)


def test_a_training_that_was_stopped_keeps_the_save_of_before(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    """It stops inside a step, which would be lost."""

    class _Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 33

    make_agent(_make_env(1)).learn(70, callback=[SaveCallback(tmp_path, 20), _Stop()])
    again = make_agent(_make_env(1)).load(tmp_path / "model", env=_make_env(1))
    again.load_replay_buffer(tmp_path / "replay_buffer.pkl")
    assert again.num_timesteps == 20
    assert again._last_obs is not None


class _NotCopied(RandomEnv, EzPickle):
    """Pickles as its constructor's arguments, as MuJoCo's environments do."""

    def __init__(self) -> None:
        EzPickle.__init__(self)
        RandomEnv.__init__(self)


def test_normalisation_goes_on_where_environments_begin_anew(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    def make() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: Monitor(_NotCopied())]))

    env = make()
    make_agent(env).learn(30, callback=SaveCallback(tmp_path, 10))
    other = make()
    again = make_agent(make()).load(tmp_path / "model", env=other)
    again.load_replay_buffer(tmp_path / "replay_buffer.pkl")
    before, after = vars(env), vars(other)
    assert before["obs_rms"].count > 30
    assert after["obs_rms"].count == before["obs_rms"].count
    np.testing.assert_array_equal(after["obs_rms"].mean, before["obs_rms"].mean)
    assert after["ret_rms"].var == before["ret_rms"].var


def test_inside_another_callback_it_is_refused(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", _make_env(1), n_steps=16, batch_size=16)
    with pytest.raises(ValueError, match="inside EveryNTimesteps would never save"):
        model.learn(16, callback=EveryNTimesteps(8, SaveCallback(tmp_path, 8)))


def test_agents_without_a_replay_are_saved_too(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", _make_env(1), n_steps=16, batch_size=16, n_epochs=1)
    model.learn(48, callback=SaveCallback(tmp_path / "new", every=10))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"model.zip"}
    assert PPO.load(tmp_path / "new" / "model").num_timesteps == 48


def test_every_must_be_a_number_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SaveCallback(tmp_path, every=0)


def test_other_environments_begin_new_episodes_and_the_rest_goes_on(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    agent = make_agent(_make_env(2)).learn(30)
    agent.save(tmp_path / "model")
    agent.save_replay_buffer(tmp_path / "replay")
    again = type(agent).load(tmp_path / "model", env=VecMonitor(_make_env(2)))
    with pytest.warns(UserWarning, match="begin new episodes; everything else continues"):
        again.load_replay_buffer(tmp_path / "replay")
    records = again.replay_buffer.pos
    again.learn(6, reset_num_timesteps=False)
    assert again.num_timesteps == 36
    assert again.replay_buffer.episode_starts[records].all()
