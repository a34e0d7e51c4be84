"""Observations and rewards normalized by SB3's VecNormalize."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from tests.facts import HAS_REPLAY
from tests.resuming import has_replay, load, save
from tests.sb3.conftest import of_replays, of_windows, of_world_models
from tests.sb3.stored import Windows, last_window, records

IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
FAR = spaces.Box(90.0, 110.0, (3,), np.float32)


def normalized(env: Any, **kwargs: Any) -> VecNormalize:
    return VecNormalize(DummyVecEnv([lambda: env]), **kwargs)


def test_one_around_another_is_refused(make_agent: Any, make_env: Any) -> None:
    agent = make_agent(VecNormalize(normalized(make_env(FAR))))
    with pytest.raises(ValueError, match="inside of 2 VecNormalize"):
        agent.learn(8)
    agent.set_env(normalized(make_env(FAR)))
    agent.learn(8)


@of_windows
def test_windows_hold_normalized_numbers(make_agent: Any, make_env: Any) -> None:
    """What was acted on, in the numbers of that moment; last observations and rewards, too."""
    env, windows = normalized(make_env(FAR)), Windows()
    shown: list[Any] = []

    def keep(locals_: dict[str, Any], _: Any) -> bool:
        ends = [info["terminal_observation"] for info in locals_["infos"] if locals_["dones"][0]]
        shown.append((locals_["new_obs"][0], locals_["rewards"][0], *ends))
        return True

    agent = make_agent(env, n_steps=6).learn(24, [windows, ConvertCallback(keep)])
    told = records(agent, windows)
    assert np.abs(told.observations).max() < 10.0
    expected = [obs for step in shown for obs in (*step[2:], step[0])]
    np.testing.assert_array_equal(told.observations[1:], expected[:-1])
    rewards = np.array([step[1] for step in shown], np.float32)
    np.testing.assert_array_equal(told.rewards[1:11], rewards[:10])
    assert told.last.nonzero()[0].tolist() == [10, 21]
    values = np.concatenate([window.bootstrap[:, -1] for window in windows.kept])
    assert np.isfinite(values).all()
    assert values.all()


@of_replays
def test_the_replay_holds_raw_numbers_and_normalizes_samples(
    make_agent: Any, make_env: Any
) -> None:
    env = normalized(make_env(FAR))
    agent = make_agent(env).learn(40)
    assert agent._n_updates > 0
    stored = agent.replay_buffer.observations[:30]
    assert stored.min() >= 90.0
    batch = agent.replay_buffer.sample(32, env)
    assert np.abs(batch.observations.numpy()).max() < 5.0
    raw = agent.replay_buffer.sample(32)
    assert raw.observations.min() >= 90.0


@of_replays
def test_updates_see_normalized_numbers(
    make_agent: Any, make_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = normalized(make_env(FAR))
    agent = make_agent(env, gradient_steps=0).learn(40)
    batches: list[Any] = []

    def keep(batch: Any) -> dict[str, Any]:
        batches.append(batch)
        return {"grad_norm": th.zeros(())}

    monkeypatch.setattr(agent, "_update", keep)
    agent.train(1)
    (batch,) = batches
    for row, (stream, start) in enumerate(zip(*batch.windows, strict=True)):
        steps = slice(start, start + agent.batch_length)
        expected: Any = env.normalize_obs(agent.replay_buffer.observations[steps, stream])
        np.testing.assert_allclose(batch.observations[row], expected, rtol=1e-6)


@of_replays
def test_rewards_are_normalized(make_agent: Any, make_env: Any) -> None:
    env = normalized(make_env(), norm_obs=False)
    agent = make_agent(env, gradient_steps=0).learn(30)
    env.ret_rms.var = np.array(100.0)
    buffer = agent.replay_buffer
    scaled = [np.abs(buffer.sample(64, venv).rewards.numpy()).max() for venv in (None, env)]
    assert scaled[0] > 2 * scaled[1] > 0


def test_statistics_belong_to_the_current_environment(make_agent: Any, make_env: Any) -> None:
    env, other = normalized(make_env()), normalized(make_env(), training=False)
    agent = make_agent(env)
    assert agent.get_vec_normalize_env() is env
    agent.set_env(other)
    assert agent.get_vec_normalize_env() is other
    agent.learn(10)
    agent.set_env(env)
    assert agent.learn(20).get_vec_normalize_env() is env


def test_some_keys_of_a_dict(make_agent: Any, make_env: Any) -> None:
    space = spaces.Dict({"image": IMAGE, "vector": FAR, "number": spaces.Discrete(4)})
    env = normalized(make_env(space), norm_obs_keys=["vector"])
    agent = make_agent(env, "MultiInputPolicy").learn(20)
    assert agent._n_updates > 0
    window: Any = agent.replay_buffer.sample(8, env) if has_replay(agent) else last_window(agent)
    assert np.abs(window.observations["vector"].numpy()).max() < 10.0
    assert window.observations["number"].dtype.is_floating_point is False


class OneNaN(gym.Wrapper):
    """Breaks once: a part of the 12th step's answer, or of the 3rd reset's."""

    def __init__(self, env: gym.Env, where: str) -> None:
        super().__init__(env)
        self.where, self.steps, self.resets = where, 0, 0

    def spoil(self, obs: Any) -> Any:
        if isinstance(obs, dict):
            return {**obs, "far": obs["far"] * np.nan}
        return obs * np.nan

    def reset(self, **kwargs: Any) -> Any:
        self.resets += 1
        obs, info = self.env.reset(**kwargs)
        return (self.spoil(obs) if self.where == "reset" and self.resets == 3 else obs), info

    def step(self, action: Any) -> Any:
        self.steps += 1
        obs, reward, *rest = self.env.step(action)
        if self.steps == 12:
            obs = self.spoil(obs) if self.where == "observation" else obs
            reward = np.inf if self.where == "reward" else reward
        return obs, reward, *rest


def _statistics(env: VecNormalize) -> list[Any]:
    rms = env.obs_rms if isinstance(env.obs_rms, dict) else {"": env.obs_rms}
    return [{k: vars(v) for k, v in rms.items()}, vars(env.ret_rms), env.returns]


@pytest.mark.parametrize("where", ["observation", "reward", "reset"])
@pytest.mark.parametrize("composed", [False, True])
def test_a_refused_step_leaves_no_trace_in_the_statistics(
    make_agent: Any, make_env: Any, agent_name: str, where: str, composed: bool
) -> None:
    """They had taken it in before anyone could look at it, and would be NaN for ever."""
    space = spaces.Dict({"far": FAR, "near": spaces.Box(-1.0, 1.0, (2,))}) if composed else FAR
    policy = "MultiInputPolicy" if composed else "MlpPolicy"
    settings: dict[str, Any] = dict(policy=policy)
    settings |= {"learning_starts": 10**6} if agent_name in HAS_REPLAY else {"n_steps": 1}

    def make(kind: str) -> VecNormalize:
        inner = make_env(space, length=100)
        inner.observation_space.seed(0)
        return VecMonitor(DummyVecEnv([lambda: OneNaN(inner, kind)]))  # type: ignore[return-value]

    broken, whole = VecNormalize(make(where)), VecNormalize(make("nowhere"))
    shared = broken.obs_rms  # with an environment for evaluation, say
    agent = make_agent(broken, **settings)
    make_agent(whole, **settings).learn(11)
    if where == "reset":
        agent.learn(5)
        agent.learn(6)
        before = deepcopy(_statistics(broken))
        with pytest.raises(ValueError, match="NaN or infinity"):
            agent.learn(5)
    else:
        with pytest.raises(ValueError, match="NaN or infinity"):
            agent.learn(50)
        before = _statistics(whole)
    np.testing.assert_equal(_statistics(broken), before)
    assert broken.obs_rms is shared
    agent.learn(12, reset_num_timesteps=False)
    window = agent.replay_buffer.sample(4, broken) if has_replay(agent) else last_window(agent)
    assert window.rewards.isfinite().all()
    assert all(th.isfinite(p).all() for p in agent.policy.parameters())


def test_a_normalizer_of_rewards_alone_is_saved_too(
    make_agent: Any, make_env: Any, tmp_path: Any
) -> None:
    """It has no statistics of observations."""
    env = normalized(make_env(), norm_obs=False)
    agent = make_agent(env).learn(30)
    save(agent, tmp_path)
    other = normalized(make_env(), norm_obs=False)
    load(type(agent), tmp_path, other)
    assert vars(other.ret_rms) == vars(env.ret_rms)


def test_normalized_images_are_no_images(make_agent: Any, make_env: Any) -> None:
    with pytest.raises(AssertionError, match="normalize_images=False"):
        make_agent(normalized(make_env(IMAGE)), "CnnPolicy")


def test_normalized_images_are_read_on_request(make_agent: Any, make_env: Any) -> None:
    kwargs = {"normalize_images": False}
    agent = make_agent(normalized(make_env(IMAGE)), "CnnPolicy", policy_kwargs=kwargs).learn(16)
    assert agent._n_updates > 0


def test_a_wrapper_around_it_that_changes_observations_is_refused(
    make_agent: Any, make_env: Any
) -> None:
    """SB3 would put the transposition of images outside, and the replay would hold the raw ones."""
    image = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    wrong = normalized(make_env(image), norm_obs=False)
    with pytest.raises(ValueError, match=r"VecNormalize\(VecTransposeImage\(env\)\)"):
        make_agent(wrong, "CnnPolicy").learn(20)
    inside = VecTransposeImage(DummyVecEnv([lambda: make_env(image)]))
    agent = make_agent(VecNormalize(inside, norm_obs=False), "CnnPolicy").learn(20)
    assert agent._n_updates > 0


@of_replays
def test_observations_of_another_shape_are_not_stored(make_agent: Any, make_env: Any) -> None:
    agent = make_agent(make_env(spaces.Box(-1, 1, (2, 3))))
    wrong = np.zeros((1, 3, 2), np.float32)
    with pytest.raises(ValueError, match=r"shape \(3, 2\); expected \(2, 3\)"):
        agent.replay_buffer.add(wrong, wrong, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])


@of_world_models
def test_dreams_that_begin_in_the_replay_need_its_normalizer(
    make_agent: Any, make_env: Any, tmp_path: Any
) -> None:
    env = normalized(make_env(FAR))
    agent = make_agent(env).learn(30)
    agent.save(tmp_path / "model")
    agent.save_replay_buffer(tmp_path / "replay")
    again = type(agent).load(tmp_path / "model")
    again.load_replay_buffer(tmp_path / "replay")
    with pytest.raises(ValueError, match="behind a VecNormalize"):
        again.dream_env(2, start="replay").reset()
    again.set_env(env)
    dreams = again.dream_env(50, start="replay").reset()
    # Neither raw numbers nor, in normalized ones, the bounds of raw ones, 90 and 110.
    assert np.abs(dreams).max() < 20
    again.set_env(DummyVecEnv([lambda: make_env(FAR)]))
    assert again.learn(5).dream_env(2).reset().min() >= 90  # its bounds hold again
