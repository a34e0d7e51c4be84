"""Any algorithm of SB3 can be made resumable, and files of something else are refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.testing.random_env import ACTION
from tests.resuming import assert_equal
from tests.sb3.conftest import RandomEnv


class ResumablePPO(ExactResume, PPO):
    pass


class ResumableSAC(ExactResume, SAC):
    pass


class ResumableDQN(ExactResume, DQN):
    pass


class ResumableTD3(ExactResume, TD3):
    pass


def _kind(name: str) -> Any:
    """Return a class by the name of SB3's, or of sb3-contrib's."""
    if name in KINDS:
        return KINDS[name]
    contrib = pytest.importorskip("sb3_contrib", reason='needs pip install "dreamzoo[contrib]"')
    return type(f"Resumable{name}", (ExactResume, getattr(contrib, name)), {})


def _make_env(actions: spaces.Space = ACTION) -> VecEnv:
    env = DummyVecEnv([lambda: Monitor(RandomEnv(action_space=actions, length=7))] * 2)
    env.seed(3)
    return env


SMALL: dict[type, dict[str, Any]] = {
    ResumablePPO: dict(n_steps=16, batch_size=16, n_epochs=2),
    ResumableSAC: dict(learning_starts=8, batch_size=8, buffer_size=200, train_freq=3),
}


KINDS = {"PPO": ResumablePPO, "SAC": ResumableSAC, "DQN": ResumableDQN, "TD3": ResumableTD3}
ON_POLICY, OFF_POLICY = SMALL[ResumablePPO], SMALL[ResumableSAC]
LSTM: dict[str, Any] = dict(policy="MlpLstmPolicy", policy_kwargs=dict(lstm_hidden_size=4))
NOISE = OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.5 * np.ones(2))
#: By name, and by what is drawn or remembered elsewhere than in networks and replays.
CASES: dict[str, dict[str, Any]] = {
    "PPO": ON_POLICY,
    "RecurrentPPO": ON_POLICY | LSTM,
    "SAC": OFF_POLICY,
    "SAC at random": OFF_POLICY | dict(learning_starts=100),
    "DQN": OFF_POLICY | dict(exploration_fraction=1.0),
    "TD3 with noise": OFF_POLICY | dict(action_noise=NOISE),
}


def _make(kind: Any, env: VecEnv | None = None, **kwargs: Any) -> Any:
    small = dict(policy="MlpPolicy", policy_kwargs=dict(net_arch=[8])) | SMALL.get(kind, {})
    return kind(env=env or _make_env(), seed=0, device="cpu", **small | kwargs)


class _Crash(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps >= 90:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("case", CASES)
def test_an_algorithm_of_sb3_goes_on_exactly(case: str, tmp_path: Path) -> None:
    kind = _kind(case.split()[0])
    actions = spaces.Discrete(3) if kind is ResumableDQN else ACTION

    def make() -> Any:
        return _make(kind, _make_env(actions), **CASES[case])

    whole, broken = make().learn(120), make()
    with pytest.raises(KeyboardInterrupt):
        broken.learn(120, callback=[SaveCallback(tmp_path, 30), _Crash()])
    again = kind.load(tmp_path, env=_make_env(actions), device="cpu")
    again.resume(tmp_path, trusted=True)
    assert 30 <= again.num_timesteps < 90
    again.learn(120 - again.num_timesteps, reset_num_timesteps=False)
    assert whole.num_timesteps == again.num_timesteps
    assert_equal(whole.policy.state_dict(), again.policy.state_dict())
    if getattr(whole, "replay_buffer", None) is not None:
        np.testing.assert_array_equal(whole.replay_buffer.actions, again.replay_buffer.actions)


def test_noise_goes_on_with_episodes_and_begins_anew_with_new_ones() -> None:
    """It stays the same object, which its user may hold."""
    agent = _make(ResumableTD3, train_freq=1, action_noise=NOISE).learn(6)
    noise = agent.action_noise
    before = [one.noise_prev for one in noise.noises]
    agent._setup_learn(2, reset_num_timesteps=False)
    assert agent.action_noise is noise
    assert [one.noise_prev for one in noise.noises] == before
    agent._setup_learn(2)
    assert agent.action_noise is noise
    assert not any(one.noise_prev.any() for one in noise.noises)
    agent.action_noise = NOISE  # of one environment
    agent._setup_learn(2, reset_num_timesteps=False)
    assert isinstance(agent.action_noise, VectorizedActionNoise)


def test_what_another_lstm_remembers_is_refused() -> None:
    agent = _make(_kind("RecurrentPPO"), **ON_POLICY, **LSTM).learn(32)
    state = agent._training_state()
    agent._check_training_state(state)
    parts = state["lstm_states"]
    for other in ([], parts[1:], [part[..., 1:] for part in parts]):
        with pytest.raises(ValueError, match=r"says of an LSTM .* not this agent's memory"):
            agent._check_training_state(state | {"lstm_states": other})


def test_a_state_of_earlier_versions_without_the_memory_begins_new_episodes() -> None:
    agent = _make(_kind("RecurrentPPO"), **ON_POLICY, **LSTM).learn(32)
    state = agent._training_state()
    del state["lstm_states"]
    agent._check_training_state(state)
    with pytest.warns(UserWarning, match="without what the LSTM remembers: episodes begin anew"):
        agent._restore_training(state, None)
    assert agent._last_obs is None
    agent.learn(32, reset_num_timesteps=False)


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
