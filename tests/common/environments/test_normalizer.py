"""Statistics of observations and rewards that are used, and not learned from."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from dreamzoo import RLLSTM, DreamerV3
from dreamzoo.analysis.evaluation import play_episodes, tell_rewards
from dreamzoo.common.environments.normalizer import (
    NORMALIZER,
    RewardUnit,
    as_in_training,
    as_learned,
    load_normalizer,
    save_normalizer,
    statistics_at_rest,
)


def make_normalizer(norm_reward: bool = True, scale: float = 4.0) -> VecNormalize:
    env = VecNormalize(make_vec_env("CartPole-v1", seed=0), norm_reward=norm_reward)
    env.ret_rms.var = np.float64(scale**2)
    return env


@pytest.mark.parametrize("norm_reward", [True, False])
def test_whether_rewards_were_normalized_outlives_saves_at_rest(
    norm_reward: bool, tmp_path: Path
) -> None:
    env, path = make_normalizer(norm_reward), tmp_path / NORMALIZER
    save_normalizer(env, path)
    for _ in range(2):
        loaded = load_normalizer(tmp_path / "model.zip")
        assert loaded is not None
        assert (loaded.training, loaded.norm_reward) == (False, False)
        assert as_learned(loaded).norm_reward is norm_reward
        assert not loaded.norm_reward, "a copy was changed"
        save_normalizer(loaded, path)
    with statistics_at_rest(env):
        save_normalizer(env, path)
    model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
    known = as_in_training(make_vec_env("CartPole-v1"), tmp_path / "model.zip")
    assert RewardUnit.of(model, known).scale == 1.0  # its own environment says otherwise
    model.save(tmp_path / "model")
    for alone in (DreamerV3.load(tmp_path / "model"), None):
        unit = RewardUnit.of(alone, known)
        assert unit.scale == pytest.approx(4.0 if norm_reward else 1.0)


def test_training_goes_on_as_it_was_after_saves_at_rest(tmp_path: Path) -> None:
    path = tmp_path / NORMALIZER
    with statistics_at_rest(env := make_normalizer()):
        save_normalizer(env, path)
    loaded = load_normalizer(tmp_path / "model.zip", training=True)
    assert loaded is not None
    assert (loaded.training, loaded.norm_reward) == (True, True)


def test_whoever_trains_with_other_settings_than_were_saved_is_right(tmp_path: Path) -> None:
    path = tmp_path / NORMALIZER
    save_normalizer(make_normalizer(), path)
    loaded = load_normalizer(tmp_path / "model.zip")
    assert loaded is not None
    loaded.set_venv(make_vec_env("CartPole-v1"))
    loaded.training, loaded.norm_reward = True, False  # as SB3's users do
    model = DreamerV3("MlpPolicy", loaded, policy_kwargs=dict(size="debug"))
    assert RewardUnit.of(model).scale == 1.0
    save_normalizer(loaded, path)
    again = load_normalizer(tmp_path / "model.zip", training=True)
    assert again is not None
    assert not again.norm_reward
    model.learn(2)
    loaded.training = False  # as SB3 says before an evaluation
    assert RewardUnit.of(model).scale == 1.0


def test_of_several_normalizers_that_of_rewards_says_the_unit() -> None:
    def model(outer: bool) -> DreamerV3:
        env = VecNormalize(VecFrameStack(make_normalizer(), 2), norm_reward=outer)
        return DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"))

    assert RewardUnit.of(model(False)).scale == pytest.approx(4.0)
    with pytest.raises(ValueError, match=r"^2 VecNormalize normalize rewards.*norm_reward=False"):
        RewardUnit.of(model(True))


def test_who_hears_no_rewards_needs_no_unit() -> None:
    env = VecNormalize(VecFrameStack(make_normalizer(), 2))
    agent = A2C("MlpPolicy", env, seed=0)
    with statistics_at_rest(env):
        assert play_episodes(agent, env, 1) >= 1.0


def test_at_rest_every_normalizer_stays_as_it_is_and_goes_on_later() -> None:
    inner = make_normalizer()
    outer = VecNormalize(VecFrameStack(inner, 2), norm_obs=False)
    observed: Any = inner.obs_rms
    counts = observed.count, inner.ret_rms.count, outer.ret_rms.count
    with statistics_at_rest(outer), statistics_at_rest(outer):
        outer.reset()
        assert outer.step(np.zeros(1, int))[1] == [1.0]
        with pytest.raises(ZeroDivisionError), statistics_at_rest(outer):
            _ = 1 / 0
        assert outer.step(np.zeros(1, int))[1] == [1.0]
    assert (observed.count, inner.ret_rms.count, outer.ret_rms.count) == counts
    for env in (inner, outer):
        assert (env.training, env.norm_reward) == (True, True)
    outer.step(np.zeros(1, int))
    assert observed.count > counts[0]


@pytest.mark.parametrize("way", ["own", "own at rest", "policy", "other", "plain"])
def test_rewards_are_told_in_the_unit_of_training(way: str) -> None:
    own = make_normalizer()
    agent = RLLSTM("MlpPolicy", own, seed=0, **RLLSTM.smallest)
    env = {"other": make_normalizer(False), "plain": make_vec_env("CartPole-v1")}.get(way, own)
    place, heard = agent.policy.memory.names.index("reward"), []
    own.training = False

    def note(played: dict[str, Any], names: dict[str, Any]) -> None:
        tell_rewards(played, names)
        heard.append(float(played["states"][place][0, 0]))

    with statistics_at_rest(own) if way == "own at rest" else nullcontext():
        acts = agent.policy if way == "policy" else agent
        evaluate_policy(acts, env, 1, callback=note, warn=False)
    assert heard
    assert set(heard) == {0.25}


def test_rewards_that_are_cut_off_are_learned_cut_off() -> None:
    model = DreamerV3("MlpPolicy", make_normalizer(), policy_kwargs=dict(size="debug"))
    unit = RewardUnit.of(model)
    np.testing.assert_allclose(unit.learned(np.array([2.0, 400.0, -400.0])), [0.5, 10.0, -10.0])
    np.testing.assert_allclose(unit.earned(np.array([0.5])), [2.0])
    assert RewardUnit.of(DreamerV3("MlpPolicy", "CartPole-v1", **DreamerV3.smallest)).scale == 1.0
