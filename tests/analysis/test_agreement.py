"""The same policy in the real environment and in the dream: counts, errors, returns."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import MERLIN, DreamerV1, DreamerV2, DreamerV3
from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.analysis.playing import predict_play
from dreamzoo.dreamer_v3 import Size
from dreamzoo.envs import DreamVectorEnv


class Ladder(gym.Env):
    """
    Shows the step and the action that led to it; action 1 ends the episode, ten steps do too.

    :param as_dict: show both as parts of a Dict
    """

    def __init__(self, as_dict: bool = False) -> None:
        box = spaces.Box(-20, 20, (2,), np.float32)
        self.observation_space = spaces.Dict({"pair": box}) if as_dict else box
        self.as_dict = as_dict
        self.action_space = spaces.Discrete(2)

    def observe(self, action: int) -> Any:
        pair = np.array([self.age, action], np.float32)
        return {"pair": pair} if self.as_dict else pair

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.age = 0
        return self.observe(0), {}

    def step(self, action: int) -> Any:
        self.age += 1
        return self.observe(int(action)), 2.0, bool(action == 1), self.age == 10, {}


def make_agent(as_dict: bool = False) -> DreamerV3:
    return DreamerV3(
        "MultiInputPolicy" if as_dict else "MlpPolicy",
        make_vec_env(lambda: Ladder(as_dict), 2, seed=0),
        policy_kwargs=dict(size="debug"),
        gradient_steps=0,
        seed=0,
    )


def predict_always(agent: DreamerV3, cont: float) -> float:
    """Let the model predict the smallest positive bin as reward, and one chance to go on."""
    model = agent.policy.world_model
    bins = model.reward.twohot.bins
    index = len(bins) // 2 + 1
    with th.no_grad():
        model.cont.out.weight.zero_()
        model.cont.out.bias.fill_(cont)
        model.reward.out.bias.zero_()
        model.reward.out.bias[index] = 100.0
    return float(bins[index])


def up(obs: Any) -> np.ndarray:
    return np.zeros(len(obs["pair"] if isinstance(obs, dict) else obs), int)


@pytest.mark.parametrize("as_dict", [False, True])
def test_errors_and_returns_are_those_of_what_is_predicted(as_dict: bool) -> None:
    agent = make_agent(as_dict)
    value = predict_always(agent, cont=50.0)  # goes on for certain
    env = make_vec_env(lambda: Ladder(as_dict), 3, seed=0)
    result = compare_with_dream(agent, up, env, horizon=8)
    assert result.running.tolist() == [3] * 8
    np.testing.assert_allclose(result.reward_error, abs(value - 2.0), rtol=1e-4)
    np.testing.assert_allclose(result.continue_error, 0.0, atol=1e-5)
    np.testing.assert_array_equal(result.real_returns, 16.0)
    np.testing.assert_allclose(result.dream_returns, 8 * value, rtol=1e-4)
    predict_always(agent, cont=-50.0)  # ends with the first dreamed step
    result = compare_with_dream(agent, up, env, horizon=8)
    np.testing.assert_allclose(result.continue_error, 1.0, atol=1e-5)
    np.testing.assert_allclose(result.dream_returns, value, rtol=1e-4)
    np.testing.assert_array_equal(result.real_returns, 16.0)


@pytest.mark.parametrize("own", [True, False])
def test_rewards_that_were_normalized_are_compared_in_the_environments_unit(own: bool) -> None:
    """In an environment of its own the statistics of training stay as they are, too."""
    agent = make_agent()
    value = predict_always(agent, cont=50.0)
    env = VecNormalize(make_vec_env(Ladder, 2, seed=0), norm_obs=False)
    env.ret_rms.var = np.float64(16.0)
    agent.set_env(env)
    count = env.ret_rms.count
    result = compare_with_dream(agent, up, env if own else make_vec_env(Ladder, 2), horizon=8)
    np.testing.assert_allclose(result.reward_error, abs(4 * value - 2.0), rtol=1e-4)
    np.testing.assert_array_equal(result.real_returns, 16.0)
    np.testing.assert_allclose(result.dream_returns, 8 * 4 * value, rtol=1e-4)
    assert (env.ret_rms.count, env.training, env.norm_reward) == (count, True, True)


@pytest.mark.parametrize("agent_class", [DreamerV1, DreamerV2])
def test_a_model_of_the_tanh_of_rewards_is_compared_in_that(agent_class: Any) -> None:
    env, small = make_vec_env(Ladder, 2, seed=0), dict(deter=8, units=8)
    agent = agent_class("MlpPolicy", env, reward_transform="tanh", policy_kwargs=small, seed=0)
    model = agent.policy.world_model
    with th.no_grad():
        model.reward.out.weight.zero_()
        model.reward.out.bias.fill_(np.tanh(2.0))  # all that there is to learn
        model.cont.out.weight.zero_()
        model.cont.out.bias.fill_(50.0)
    result = compare_with_dream(agent, up, env, horizon=8)
    np.testing.assert_allclose(result.reward_error, 0.0, atol=1e-6)
    np.testing.assert_allclose(result.real_returns, 8 * np.tanh(2.0), rtol=1e-6)
    np.testing.assert_allclose(result.dream_returns, result.real_returns, rtol=1e-6)
    shown, errors = predict_play(agent, env, length=5, context=2, compared=4)
    np.testing.assert_allclose(shown.reward[1], np.tanh(2.0), rtol=1e-6)
    np.testing.assert_allclose([error.reward for error in errors if error.sequences], 0, atol=1e-5)


def test_ended_episodes_do_not_count() -> None:
    """Row i ends itself at step i + 1; a time limit is no end that a model should predict."""
    agent = make_agent()
    predict_always(agent, cont=50.0)

    def ends(obs: np.ndarray) -> np.ndarray:
        return (obs[:, 0] == np.arange(3)).astype(int)

    result = compare_with_dream(agent, ends, make_vec_env(Ladder, 3), horizon=20)
    assert result.running.tolist() == [3, 2, 1]
    np.testing.assert_allclose(result.continue_error, [1 / 3, 1 / 2, 1], atol=1e-5)
    np.testing.assert_array_equal(result.real_returns, [2, 4, 6])
    result = compare_with_dream(agent, up, make_vec_env(Ladder, 3), horizon=20)
    assert len(result.running) == 10
    np.testing.assert_allclose(result.continue_error, 0.0, atol=1e-5)


def test_observation_errors_are_in_standard_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that always answers (3, 0): what is off by nothing, and by how much the rest."""
    agent = make_agent()
    predict_always(agent, cont=50.0)
    guess = th.tensor([3.0, 0.0])
    monkeypatch.setattr(
        agent.policy.world_model, "decode", lambda latent: guess.expand(len(latent.deter), 2)
    )
    result = compare_with_dream(agent, up, make_vec_env(Ladder, 2), horizon=5)
    steps = np.arange(1, 6)
    # The second number never changes: it has no scale, and no error here.
    np.testing.assert_allclose(result.observation_error, np.abs(3 - steps) / steps.std() / 2)


def test_any_policy_can_be_compared() -> None:
    agent = make_agent()
    env = make_vec_env(Ladder, 4)
    policies: list[Callable[..., Any] | Any] = [
        agent,
        RandomPolicy(env),
        PPO("MlpPolicy", env, n_steps=8, batch_size=8),
        up,
    ]
    for policy in policies:
        one, other = (compare_with_dream(agent, policy, env, 6, seed=3) for _ in range(2))
        assert one.real_returns.shape == one.dream_returns.shape == (4,)
        if policy is up or isinstance(policy, RandomPolicy):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_policies_that_listen_are_told_their_rewards_in_reality_and_dream(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that they have learned, where a ``VecNormalize`` divides them in training."""
    env: Any = make_vec_env(Ladder, 8, seed=0)
    if scale != 1.0:
        env = VecNormalize(env, norm_obs=False)
        env.ret_rms.var = np.float64(scale**2)
    dreamed = _noted(DreamVectorEnv, "step", monkeypatch)
    agent = MERLIN("MlpPolicy", env, policy_kwargs=dict(size="debug"), seed=0)
    predict, names, heard = agent.predict, agent.policy.memory.names, []

    def note_what_is_heard(obs: Any, state: Any, *rest: Any) -> Any:
        if state is not None:
            heard.append([state[names.index(name)].ravel() for name in ("reward", "told")])
        return predict(obs, state, *rest)

    monkeypatch.setattr(agent, "predict", note_what_is_heard)
    result = compare_with_dream(agent, agent, env, 4)
    real = len(result.running) - 1  # the first action knows of no reward
    assert real >= 1
    assert len(heard) > real, "nothing was dreamed"
    assert all((told == 1.0).all() for _, told in heard)
    for reward, _ in heard[:real]:
        np.testing.assert_allclose(reward, 2.0 / scale, rtol=1e-6)
    # First reality's actions are dreamed, then the policy's own.
    promised = [step[1] for step in dreamed[len(result.running) :]]
    for (reward, _), learned in zip(heard[real:], promised, strict=False):
        np.testing.assert_allclose(reward, learned, rtol=1e-5, atol=1e-6)


def _noted(owner: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what a method returns."""
    noted: list[Any] = []
    original = getattr(owner, method)

    def note(*args: Any, **kwargs: Any) -> Any:
        noted.append(original(*args, **kwargs))
        return noted[-1]

    monkeypatch.setattr(owner, method, note)
    return noted


class Chain(gym.Env):
    """Seven places in a row; both ends terminate, the reward is the place, twelve steps at most."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Discrete(7), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place, self.age = 3, 0
        return self.place, {}

    def step(self, action: int) -> Any:
        self.place += 2 * int(action) - 1
        self.age += 1
        ended = self.place in (0, 6)
        return self.place, float(self.place), ended, self.age == 12, {}


def test_a_learned_deterministic_environment_is_reproduced() -> None:
    """
    Every observation right, rewards (0 to 6) within 0.1, ends within 0.05, over whole episodes.

    The agent is rewarded for entropy, so that its data hold every way through the chain.
    """
    size = Size(units=64, deter=128, classes=4, cnn_depth=2, hidden=64, stoch=8, blocks=4)
    agent = DreamerV3(
        "MlpPolicy",
        make_vec_env(Chain, 8, seed=0),
        policy_kwargs=dict(size=size, optimizer_kwargs=dict(warmup=20)),
        learning_rate=2e-3,
        batch_size=32,
        batch_length=8,
        horizon=3,
        imagination_last=1,
        train_ratio=128,
        learning_starts=300,
        ent_coef=1.0,
        seed=0,
    ).learn(1_000)
    env = make_vec_env(Chain, 64, seed=1)
    result = compare_with_dream(agent, RandomPolicy(env), env, 12)
    assert len(result.running) == 12
    assert not result.observation_error.any()
    assert result.reward_error.max() < 0.1
    assert result.continue_error.max() < 0.05


class Dots(Ladder):
    """Shows the step as the brightness of an image, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (36, 40, 3), np.uint8)

    def observe(self, action: int) -> Any:
        return np.full((36, 40, 3), self.age, np.uint8)


def test_images_with_their_channels_last_are_compared() -> None:
    env = make_vec_env(Dots, 2, seed=0)
    agent = DreamerV3("CnnPolicy", env, policy_kwargs=dict(size="debug"), gradient_steps=0, seed=0)
    result = compare_with_dream(agent, agent, make_vec_env(Dots, 2, seed=0), 3)
    assert len(result.running) <= 3
    assert np.isfinite(result.real_returns).all()
