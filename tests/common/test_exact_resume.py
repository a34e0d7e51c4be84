"""Any algorithm of SB3 can be made resumable, and files of something else are refused."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.exact_resume import ExactResume
from tests.resuming import assert_equal
from tests.sb3.conftest import RandomEnv


class ResumablePPO(ExactResume, PPO):
    pass


class ResumableSAC(ExactResume, SAC):
    pass


def _make_env() -> VecEnv:
    env = DummyVecEnv([lambda: Monitor(RandomEnv(length=7))] * 2)
    env.seed(3)
    return env


SMALL: dict[type, dict[str, Any]] = {
    ResumablePPO: dict(n_steps=16, batch_size=16, n_epochs=2),
    ResumableSAC: dict(learning_starts=8, batch_size=8, buffer_size=200, train_freq=3),
}


def _make(kind: Any) -> Any:
    small = dict(net_arch=[8])
    return kind("MlpPolicy", _make_env(), seed=0, device="cpu", policy_kwargs=small, **SMALL[kind])


class _Crash(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps >= 90:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("kind", SMALL)
def test_an_algorithm_of_sb3_goes_on_exactly(kind: Any, tmp_path: Path) -> None:
    whole, broken = _make(kind).learn(120), _make(kind)
    with pytest.raises(KeyboardInterrupt):
        broken.learn(120, callback=[SaveCallback(tmp_path, 30), _Crash()])
    again = kind.load(tmp_path, env=_make_env(), device="cpu")
    again.resume(tmp_path, trusted=True)
    assert 30 <= again.num_timesteps < 90
    again.learn(120 - again.num_timesteps, reset_num_timesteps=False)
    assert whole.num_timesteps == again.num_timesteps
    assert_equal(whole.policy.state_dict(), again.policy.state_dict())


class _SaveInside(BaseCallback):
    """Save in the middle of a collection, as SB3's CheckpointCallback does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _on_step(self) -> bool:
        if self.n_calls == 20:
            self.model.save(self.folder / "model")
            self.model.save_training_state(self.folder / "state")  # type: ignore[attr-defined]
        return True


@pytest.mark.parametrize("kind", SMALL)
def test_a_save_inside_of_a_collection_begins_new_episodes(kind: Any, tmp_path: Path) -> None:
    """The steps since its beginning are stored nowhere."""
    _make(kind).learn(64, callback=_SaveInside(tmp_path))
    again = kind.load(tmp_path / "model", env=_make_env(), device="cpu")
    again.load_training_state(tmp_path / "state", trusted=True)
    assert again._last_obs is None
    again.learn(32, reset_num_timesteps=False)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    agent = _make(ResumablePPO).learn(32)
    agent.save_training_state(tmp_path / "state")
    good = (tmp_path / "state.zip").read_bytes()
    (tmp_path / "short.zip").write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"short is damaged: it is cut short"):
        agent.load_training_state(tmp_path / "short")
    agent.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model holds an agent, not the state of a training"):
        agent.load_training_state(tmp_path / "model")
    (tmp_path / "noise.pkl").write_bytes(b"c\x00not a pickle at all")
    with pytest.raises(ValueError, match=r"noise is not of a form that is safe to read"):
        agent.load_training_state(tmp_path / "noise")
    with pytest.raises(ValueError, match=r"noise cannot be read"):
        agent.load_training_state(tmp_path / "noise", trusted=True)
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"num_timesteps": 32}))
    with pytest.raises(ValueError, match=r"other holds a dict, not what save_training_state"):
        agent.load_training_state(tmp_path / "other", trusted=True)
    twin = _make(ResumablePPO).learn(32)
    with pytest.raises(ValueError, match=r"of another training of 32 steps than the agent"):
        twin.load_training_state(tmp_path / "state")
    agent.learn(32, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=r"a training of 32 steps, and the agent has 64"):
        agent.load_training_state(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        agent.load_training_state(tmp_path / "nothing")
    other = _make(ResumableSAC).learn(32)
    with pytest.raises(ValueError, match=r"a training of ResumablePPO, and this is a ResumableSAC"):
        other.load_training_state(tmp_path / "state")
    one = ResumablePPO("MlpPolicy", make_vec_env(RandomEnv, 1), device="cpu", **SMALL[ResumablePPO])
    with pytest.raises(ValueError, match=r"a training of 2 environments, and the agent has 1"):
        one.load_training_state(tmp_path / "state")
