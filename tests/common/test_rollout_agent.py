"""An on-policy agent with a memory: windows are what happened, and nothing is lost between them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo.analysis.callbacks import SaveCallback
from tests.common.gru_agent import Cue, GRUAgent
from tests.resuming import assert_equal


def _make_env(n_envs: int = 3, delay: int = 3, time_limit: bool = False) -> VecEnv:
    return make_vec_env(lambda: Cue(delay, time_limit), n_envs=n_envs, seed=0)


def _make(env: VecEnv, **kwargs: Any) -> GRUAgent:
    return GRUAgent("MlpPolicy", env, seed=0, device="cpu", **kwargs)


class _Windows(BaseCallback):
    """Keep every window, and the memory with which it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        hidden = agent.unroll(agent.rollout_buffer.window(agent.device)).detach()
        self.kept.append((agent.rollout_buffer.window(agent.device), agent._last_state, hidden))


def test_it_learns_what_only_a_memory_can_know() -> None:
    agent = _make(_make_env(16)).learn(9_600)
    reward: Any = evaluate_policy(agent, _make_env(4), 40)[0]
    assert reward > 0.95  # chance is 0.5


def test_going_through_a_window_again_gives_the_memory_that_it_ended_with() -> None:
    """Across ends of episodes, and from the memory that the window before has left."""
    windows = _Windows()
    _make(_make_env(delay=4), n_steps=7).learn(3 * 7 * 4, callback=windows)
    assert len(windows.kept) == 4
    for window, after, hidden in windows.kept:
        assert window.is_first.any(dim=1).all()
        th.testing.assert_close(hidden[:, -1], after.hidden)
    # The first update came between the two: what it remembered is still the old weights' work.
    assert th.equal(windows.kept[1][0].start.hidden, windows.kept[0][1].hidden)
    assert windows.kept[1][0].start.hidden.abs().sum() > 0


@pytest.mark.parametrize("time_limit", [False, True])
def test_values_stand_in_for_what_a_window_cannot_see(time_limit: bool) -> None:
    """Zero at terminations, the last observation's value at time limits and at the end."""
    windows = _Windows()
    agent = _make(_make_env(2, delay=2, time_limit=time_limit), n_steps=7)
    agent.learn(14, callback=[windows, _Freeze()])
    ((window, after, hidden),) = windows.kept
    blank, nowhere = th.zeros(2, 2), th.zeros(2, dtype=th.bool)
    for t in range(7):
        memory = type(after)(hidden[:, t])
        beyond = agent.policy.predict_values(blank, memory, nowhere).detach()
        if t == 6:
            assert not window.is_last[:, t].any()
            expected = beyond
        else:
            expected = th.where(window.is_last[:, t] & time_limit, beyond, 0.0)
        th.testing.assert_close(window.bootstrap[:, t], expected)
    assert window.is_last.sum() == 4


class _Freeze(BaseCallback):
    """Set the learning rate to zero, so that a window can be compared with today's weights."""

    def _on_step(self) -> bool:
        self.model.lr_schedule = lambda _: 0.0
        return True


class _Visitor(BaseCallback):
    """Step the training environment once, as a careless callback does."""

    def _on_step(self) -> bool:
        if self.n_calls == 3:
            self.training_env.step(np.zeros(3, np.int64))
        return True


def test_a_window_is_cut_where_someone_else_has_stepped_the_environment() -> None:
    windows = _Windows()
    _make(_make_env(delay=6), n_steps=6).learn(18, callback=[_Visitor(), windows])
    ((window, _, _),) = windows.kept
    assert window.is_last.nonzero()[:, 1].tolist() == [2, 2, 2]
    assert window.is_first.nonzero()[:, 1].tolist() == [0, 3, 0, 3, 0, 3]
    assert (window.bootstrap[:, 2] != 0).all()


def test_the_state_of_predict_is_the_memory_and_episodes_begin_without_one() -> None:
    agent = _make(_make_env()).learn(24)
    obs = np.eye(2, dtype=np.float32)
    _, state = agent.predict(obs, deterministic=True)
    assert [part.shape for part in state or ()] == [(2, 16)]
    _, later = agent.predict(obs, state=state, episode_start=np.array([True, False]))
    _, anew = agent.predict(obs)
    np.testing.assert_array_equal(later[0][0], anew[0][0])  # type: ignore[index]
    assert not np.array_equal(later[0][1], anew[0][1])  # type: ignore[index]


def test_both_optimizers_are_saved(tmp_path: Path) -> None:
    agent = _make(_make_env()).learn(48)
    agent.save(tmp_path / "model")
    again = GRUAgent.load(tmp_path / "model", device="cpu")
    for name, optimizer in agent.policy.optimizers.items():
        assert_equal(optimizer.state_dict(), again.policy.optimizers[name].state_dict(), name)
        assert optimizer.state_dict()["state"]
    obs = np.eye(2, dtype=np.float32)
    one, other = (x.predict(obs, deterministic=True)[1] for x in (agent, again))
    np.testing.assert_array_equal(one[0], other[0])  # type: ignore[index]


class _Crash(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps >= 60:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("normalize", [False, True])
def test_a_training_goes_on_exactly_from_its_last_save(normalize: bool, tmp_path: Path) -> None:
    """Windows of 8 steps and episodes of 5: the save lies in the middle of an episode."""

    def make_env() -> VecEnv:
        env = _make_env(delay=4)
        return VecNormalize(env) if normalize else env

    whole, broken = _make(make_env()).learn(96), _make(make_env())
    with pytest.raises(KeyboardInterrupt):
        broken.learn(96, callback=[SaveCallback(tmp_path, 24), _Crash()])
    env = make_env()
    again = GRUAgent.load(tmp_path, env=env, device="cpu", trusted=True)
    again.resume(tmp_path, trusted=True)
    assert again.num_timesteps == 48
    again.learn(48, reset_num_timesteps=False)
    assert_equal(whole.policy.state_dict(), again.policy.state_dict())
    assert_equal(whole._last_state, again._last_state)
    assert whole.num_timesteps == again.num_timesteps
    assert whole._n_updates == again._n_updates


def test_bad_steps_and_settings_are_refused() -> None:
    class _Broken(Cue):
        def step(self, action: Any) -> Any:
            obs, reward, *rest = super().step(action)
            return obs, np.nan if self.step_count == 2 else reward, *rest

    agent = _make(make_vec_env(_Broken, n_envs=2, seed=0))
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    with pytest.raises(ValueError, match=r"returned a reward.* at step 4.*the model is as it was"):
        agent.learn(64)
    assert_equal(before, agent.policy.state_dict())
    with pytest.raises(ValueError, match=r"n_steps=0 must be at least 1"):
        _make(_make_env(), n_steps=0)
    with pytest.raises(ValueError, match="no window of steps"):
        _make(_make_env()).train()
    with pytest.raises(TypeError, match="nearest name is gae_lambda"):
        _make(_make_env(), gae_lamda=0.9)


def test_dict_observations_and_box_actions_are_learned_from() -> None:
    class _Dict(Cue):
        observation_space = spaces.Dict(a=Cue.observation_space, b=spaces.Discrete(3))  # type: ignore[assignment]
        action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)  # type: ignore[assignment]

        def reset(self, **kwargs: Any) -> Any:
            obs, info = super().reset(**kwargs)
            return {"a": obs, "b": 1}, info

        def step(self, action: Any) -> Any:
            obs, *rest = super().step(action[0] > 0)
            return {"a": obs, "b": 2}, *rest

    env = make_vec_env(lambda: _Dict(2, True), n_envs=2)
    agent = GRUAgent("MultiInputPolicy", env, n_steps=4, device="cpu")
    window_of = agent.learn(16).rollout_buffer.window(agent.device)
    assert window_of.observations["b"].shape == (2, 4)  # type: ignore[index]
    assert window_of.actions.shape == (2, 4, 2)
    assert agent._n_updates == 2


def test_training_states_of_other_agents_are_refused(tmp_path: Path) -> None:
    agent = _make(_make_env()).learn(24)
    agent.save_training_state(tmp_path / "state")
    other = _make(_make_env(), policy_kwargs=dict(units=8)).learn(24)
    before = other._generator.get_state()  # type: ignore[union-attr]
    with pytest.raises(
        ValueError, match=r"another agent.*\(16,\).*this one remembers .*float32\(8,\)"
    ):
        other.load_training_state(tmp_path / "state")
    assert th.equal(other._generator.get_state(), before)  # type: ignore[union-attr]
