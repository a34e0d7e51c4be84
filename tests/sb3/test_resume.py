"""A training that is loaded from what ``SaveCallback`` kept goes on as if it had not stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium.utils import EzPickle
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.save_util import save_to_pkl
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from dreamzoo import PlaNet
from dreamzoo.analysis.callbacks import DreamVideoCallback, SaveCallback
from dreamzoo.common.environments.state import save_env_state
from dreamzoo.common.storage.saves import newest
from tests.facts import HAS_REPLAY
from tests.resuming import assert_equal, everything, has_replay, load, load_state, save
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv, of_replays, of_windows
from tests.sb3.stored import Windows, n_steps, records

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
    again = load(type(whole), folder, _make_env(n_envs))
    assert again.num_timesteps == EVERY[every]
    assert 0 < again._n_updates < whole._n_updates
    again.learn(70 - again.num_timesteps, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(again))


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_run_goes_on_from_its_last_save(
    make_agent: MakeAgent, agent_name: str, n_envs: int, every: int, tmp_path: Path
) -> None:
    """With the fraction of an update that was left over."""
    settings: dict[str, Any] = dict(learning_starts=11, train_ratio=1.0)
    if agent_name not in HAS_REPLAY:  # the save falls between two windows
        settings = dict(n_steps=(10 if every == 20 else 14) // n_envs)
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


@of_replays
def test_noise_with_a_memory_goes_on(make_agent: MakeAgent, tmp_path: Path) -> None:
    """SB3 resets the process of the noise at every call of learn()."""

    def make() -> Any:
        noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.5 * np.ones(2))
        return make_agent(_make_env(1), action_noise=noise, learning_starts=11, train_ratio=1.0)

    _check(make, 1, 20, tmp_path)


def test_a_training_that_was_stopped_keeps_the_save_of_before(
    make_agent: MakeAgent, agent_class: Any, tmp_path: Path
) -> None:
    """It stops inside a step, which would be lost."""

    class _Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 33

    make_agent(_make_env(1)).learn(70, callback=[SaveCallback(tmp_path, 20), _Stop()])
    again = load(agent_class, tmp_path, _make_env(1))
    assert again.num_timesteps == 20
    assert again._last_obs is not None


class _NotCopied(RandomEnv, EzPickle):
    """Pickles as its constructor's arguments, as MuJoCo's environments do."""

    def __init__(self) -> None:
        EzPickle.__init__(self)
        RandomEnv.__init__(self)


def test_normalization_goes_on_where_environments_begin_anew(
    make_agent: MakeAgent, agent_class: Any, tmp_path: Path
) -> None:
    def make() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: Monitor(_NotCopied())]))

    env = make()
    make_agent(env).learn(30, callback=SaveCallback(tmp_path, 10))
    other = make()
    load(agent_class, tmp_path, other)
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
    last = newest(tmp_path / "new")
    assert {path.name for path in last.iterdir()} == {"model.zip"}
    assert PPO.load(last / "model").num_timesteps == 48


def test_every_must_be_a_number_of_steps(tmp_path: Path) -> None:
    for every in (0, "10", 2.5):
        with pytest.raises(ValueError, match=f"every={every!r} must be at least 1"):
            SaveCallback(tmp_path, every=every)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"every={every!r} must be at least 1"):
            DreamVideoCallback(every)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context=9 must be between 1 and 8"):
        DreamVideoCallback(context=9, length=9)


def _windows_of(steps: int, agent: str) -> dict[str, Any]:
    """Settings with which a save can fall on multiples of so many steps of the VecEnv."""
    return {} if agent in HAS_REPLAY else {"n_steps": steps}


def _begins_anew(agent: Any, steps: int) -> bool:
    """Learn so many steps more; return whether they are of new episodes."""
    windows, stored = Windows(), n_steps(agent) if has_replay(agent) else 0
    agent.learn(steps, windows, reset_num_timesteps=False)
    return all(records(agent, windows, env).first[stored] for env in range(agent.n_envs))


def test_other_environments_begin_new_episodes_and_the_rest_goes_on(
    make_agent: MakeAgent, agent_name: str, tmp_path: Path
) -> None:
    agent = make_agent(_make_env(2), **_windows_of(3, agent_name)).learn(30)
    save(agent, tmp_path)
    again = type(agent).load(tmp_path / "model", env=VecMonitor(_make_env(2)))
    with pytest.warns(UserWarning, match="begin new episodes; everything else continues"):
        load_state(again, tmp_path)
    assert _begins_anew(again, 6)
    assert again.num_timesteps == 36


def _limited(length: int, **attributes: Any) -> DummyVecEnv:
    def make() -> Monitor:
        env = RandomEnv(length=length)
        vars(env).update(attributes)
        return Monitor(env)

    env = DummyVecEnv([make])
    env.seed(3)
    return env


@pytest.mark.parametrize("when", ["given", "loaded"])
def test_the_settings_that_are_given_count(
    make_agent: MakeAgent, agent_name: str, when: str, tmp_path: Path
) -> None:
    """Also those that are set between load() and what loads the state of the training."""
    agent = make_agent(_limited(7, wind=1.0), **_windows_of(3, agent_name)).learn(30)
    save(agent, tmp_path)
    env = _limited(9 if when == "given" else 7, wind=1.0)
    again = type(agent).load(tmp_path / "model", env=env)
    env.envs[0].unwrapped.length = 9  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match=r"RandomEnv.length was 7 and is now 9\. .* begin new"):
        load_state(again, tmp_path)
    assert _begins_anew(again, 6)
    assert env.get_attr("length") == [9]
    save(again, tmp_path)
    load_state(again, tmp_path)
    assert again._last_obs is not None


def test_environments_can_be_left_out(
    make_agent: MakeAgent, agent_name: str, tmp_path: Path
) -> None:
    agent = make_agent(_make_env(2), **_windows_of(5, agent_name))
    agent.learn(30, callback=SaveCallback(tmp_path, 10, env_state=False))
    again = load(type(agent), tmp_path, _make_env(2))
    assert again._last_obs is None
    assert again.num_timesteps == 30
    kept = "replay_buffer" if has_replay(again) else "training_state"
    getattr(again, f"save_{kept}")(tmp_path / "kept", env_state=False)
    getattr(again, f"load_{kept}")(tmp_path / "kept", trusted=True)
    assert again._last_obs is None


class _Curriculum:
    level = 0


class _Shared(RandomEnv):
    """Observes and rewards what it shares."""

    def __init__(self, **shared: Any) -> None:
        super().__init__(length=7)
        vars(self).update(shared)

    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        if (model := getattr(self, "model", None)) is not None:
            obs = obs * 0.5 + next(model.policy.parameters()).mean().item()
        if (curriculum := getattr(self, "curriculum", None)) is not None:
            obs = obs * 0.5 + curriculum.level / 100
        return obs.astype(np.float32), *rest


class _Raise(BaseCallback):
    def __init__(self, curriculum: _Curriculum) -> None:
        super().__init__()
        self.curriculum = curriculum

    def _on_step(self) -> bool:
        self.curriculum.level = self.num_timesteps // 8
        return True


def _shared(n_envs: int, **shared: Any) -> DummyVecEnv:
    env = DummyVecEnv([lambda: Monitor(_Shared(**shared))] * n_envs)
    env.seed(3)
    return env


@pytest.mark.parametrize("n_envs", [1, 2])
def test_callback_and_environments_see_one_curriculum(
    make_agent: MakeAgent, n_envs: int, tmp_path: Path
) -> None:
    """It stays the program's; given as it was, the training goes on exactly."""
    whole_has, part_has = _Curriculum(), _Curriculum()
    whole = make_agent(_shared(n_envs, curriculum=whole_has)).learn(40, callback=_Raise(whole_has))
    part = make_agent(_shared(n_envs, curriculum=part_has)).learn(24, callback=_Raise(part_has))
    save(part, tmp_path)

    given = _Curriculum()
    env = _shared(n_envs, curriculum=given)
    with pytest.warns(UserWarning, match="_Shared.curriculum.level was 3 and is now 0"):
        again = load(type(whole), tmp_path, env)
    assert given.level == 0
    assert again._last_obs is None
    given.level = 3
    again = load(type(whole), tmp_path, env)
    again.learn(16, callback=_Raise(given), reset_num_timesteps=False)
    assert env.get_attr("curriculum") == [given] * n_envs
    assert given.level == 5
    assert_equal(everything(whole), everything(again))


@pytest.mark.parametrize("n_envs", [1, 2])
def test_self_play_goes_on_with_the_agent_itself(
    make_agent: MakeAgent, n_envs: int, tmp_path: Path
) -> None:
    """The file holds no second copy of it."""

    def play(agent: Any, env: DummyVecEnv) -> Any:
        env.set_attr("model", agent)
        return agent

    env, other, given = (_shared(n_envs) for _ in range(3))
    whole = play(make_agent(env), env).learn(40)
    part = play(make_agent(other), other).learn(24)
    save(part, tmp_path)
    assert all(path.stat().st_size < 200_000 for path in tmp_path.glob("*.environments.zip"))
    again = play(type(whole).load(tmp_path / "model", env=given), given)
    load_state(again, tmp_path)
    again.learn(16, reset_num_timesteps=False)
    assert given.get_attr("model") == [again] * n_envs
    assert_equal(everything(whole), everything(again))


@of_replays
def test_copies_of_environments_of_another_save_begin_new_episodes(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    """As a power cut between the two files leaves them; a missing file says nothing."""
    agent = make_agent(_make_env(1)).learn(30)
    save(agent, tmp_path)
    copies = tmp_path / "replay_buffer.environments.zip"
    agent.learn(6, reset_num_timesteps=False)
    agent.save_replay_buffer(tmp_path / "other")
    (tmp_path / "other.environments.zip").replace(copies)
    again = type(agent).load(tmp_path, env=_make_env(1))
    with pytest.warns(UserWarning, match=r"environments.zip is of another save: new episodes"):
        load_state(again, tmp_path)
    assert _begins_anew(again, 6)
    copies.unlink()
    again = load(type(agent), tmp_path, _make_env(1))
    assert again._last_obs is None
    assert again.learn(6, reset_num_timesteps=False).num_timesteps == 36


@of_replays
def test_without_trust_all_but_the_environments_goes_on(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    agent = make_agent(_make_env(2)).learn(30)
    save(agent, tmp_path)
    again = type(agent).load(tmp_path, env=_make_env(2))
    with pytest.warns(UserWarning, match=r"environments\.zip holds copies .* pass trusted=True"):
        again.resume(tmp_path)
    assert th.equal(again._generator.get_state(), agent._generator.get_state())
    assert (
        again.replay_buffer.rng.bit_generator.state == agent.replay_buffer.rng.bit_generator.state
    )
    assert _begins_anew(again, 6)


@of_replays
def test_the_replay_of_another_run_at_the_same_step_begins_new_episodes(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    for seed in (0, 1):
        agent = make_agent(_make_env(1), seed=seed).learn(30)
        agent.save(tmp_path / f"model_{seed}")
        agent.save_replay_buffer(tmp_path / f"replay_{seed}")
    again = type(agent).load(tmp_path / "model_0", env=_make_env(1))
    with pytest.warns(UserWarning, match=r"replay_1 was not saved together with the agent"):
        again.load_replay_buffer(tmp_path / "replay_1", trusted=True)
    assert _begins_anew(again, 6)


@of_replays
def test_a_replay_of_another_moment_or_agent_begins_new_episodes(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    """It is learned from; its training is not taken up."""
    agent = make_agent(_make_env(1)).learn(30)
    agent.save(tmp_path / "model")
    agent.learn(6, reset_num_timesteps=False)
    agent.save_replay_buffer(tmp_path / "replay")
    again = type(agent).load(tmp_path / "model", env=_make_env(1))
    with pytest.warns(UserWarning, match=r"in a training of 36 steps, and the agent has 30: new"):
        again.load_replay_buffer(tmp_path / "replay")
    assert again._last_obs is None

    class Other(type(agent)):  # type: ignore[misc]
        pass

    agent.save(tmp_path / "model")
    other = Other.load(tmp_path / "model", env=_make_env(1))
    with pytest.warns(UserWarning, match=rf"but in a training of {type(agent).__name__}: new"):
        other.load_replay_buffer(tmp_path / "replay")
    assert other._last_obs is None
    assert other.replay_buffer.size() == agent.replay_buffer.size()


@of_windows
def test_the_state_of_another_moment_or_agent_is_refused(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    """And changes nothing."""
    agent = make_agent(_make_env(1), n_steps=3).learn(30)
    save(agent, tmp_path)
    agent.learn(6, reset_num_timesteps=False)
    agent.save_training_state(tmp_path / "later")
    again = load(type(agent), tmp_path, _make_env(1))
    before = everything(again)
    with pytest.raises(ValueError, match=r"of a training of 36 steps, and the agent has 30\. Load"):
        again.load_training_state(tmp_path / "later")
    (tmp_path / "short.zip").write_bytes((tmp_path / "later.zip").read_bytes()[:-29])
    with pytest.raises(ValueError, match=r"short is damaged: it is cut short"):
        again.load_training_state(tmp_path / "short")
    assert_equal(before, everything(again))

    class Other(type(agent)):  # type: ignore[misc]
        pass

    other = Other.load(tmp_path / "model", env=_make_env(1))
    with pytest.raises(ValueError, match=rf"is of a training of {type(agent).__name__}, and this"):
        other.load_training_state(tmp_path / "training_state")
    assert other._last_obs is None


@of_replays
def test_a_replay_of_an_earlier_version_is_loaded_if_it_is_trusted(
    make_agent: MakeAgent, tmp_path: Path
) -> None:
    """
    As dreamzoo 0.1 has written it: a pickle.

    Its training lay in a pickle beside it, of the same moment, and before that within itself.
    """
    agent = make_agent(_make_env(1)).learn(30)
    agent.save(tmp_path / "model")
    old = {"format": "dreamzoo training state 1", "env": save_env_state(agent.env)}
    state = agent._training_state() | old
    for within, beside in ((None, None), (state, None), (None, state | {"replay": "a"})):
        vars(agent.replay_buffer).update(resume_state=within, moment=beside and "a")
        save_to_pkl(tmp_path / "replay.pkl", agent.replay_buffer)
        if beside:
            save_to_pkl(tmp_path / "replay.training.pkl", beside)
        again = type(agent).load(tmp_path / "model", env=_make_env(1))
        with pytest.raises(ValueError, match=r"replay is not of a form .* with trusted=True"):
            again.load_replay_buffer(tmp_path / "replay")
        again.load_replay_buffer(tmp_path / "replay", trusted=True)
        assert (again._last_obs is None) == (within is beside)
        assert again.learn(6, reset_num_timesteps=False).num_timesteps == 36
