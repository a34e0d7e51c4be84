"""Wrappers over a dream: they run, and the dream stays the same."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.wrappers import vector


class Noise(gym.Env):
    """Random vectors, five steps an episode."""

    observation_space = spaces.Box(-2, 2, (3,), np.float32)
    action_space = spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.age = 0
        return self.np_random.uniform(-2, 2, 3).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self.age += 1
        obs = self.np_random.uniform(-2, 2, 3).astype(np.float32)
        return obs, float(action.sum()), self.age == 5, False, {}


@pytest.fixture(scope="module")
def agent() -> DreamerV3:
    env = make_vec_env(Noise, n_envs=2, seed=0)
    return DreamerV3(
        "MlpPolicy",
        env,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=1,
        seed=0,
    ).learn(40)


def states(env: Any, steps: int = 12) -> list[th.Tensor]:
    """Collect the dream's random stream and states as a wrapped environment is stepped."""
    dream = env.unwrapped
    env.reset(seed=0)
    seen = [dream.latent.feat]
    for step in range(steps):
        env.step(th.full(env.action_space.shape, (step % 3) / 2 - 0.5))
        seen += [dream.latent.feat, dream._generator.get_state()]
    return seen


WRAPPERS: list[Callable[[Any], Any]] = [
    vector.SymlogObservation,
    vector.SymlogReward,
    vector.TanhReward,
    vector.PreviousActionReward,
    lambda env: vector.EpisodeDiscount(env, add_to_observation=True),
]


def make_dream(agent: DreamerV3, **kwargs: Any) -> DreamVectorEnv:
    return DreamVectorEnv(agent, 4, horizon=5, **kwargs)


@pytest.mark.parametrize("number", range(len(WRAPPERS)))
def test_a_wrapped_dream_dreams_the_same(agent: DreamerV3, number: int) -> None:
    expected = states(make_dream(agent))
    found = states(WRAPPERS[number](make_dream(agent)))
    assert all(th.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("termination", ["sample", None])
def test_a_dream_repeated_once_is_the_dream_itself(agent: DreamerV3, termination: Any) -> None:
    plain = make_dream(agent, termination=termination)
    disabled = make_dream(agent, termination=termination, autoreset_mode=AutoresetMode.DISABLED)
    expected, found = states(plain), states(vector.RepeatAction(disabled, 1))
    assert all(th.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_everything_at_once_over_a_dream(agent: DreamerV3) -> None:
    env: Any = make_dream(agent, autoreset_mode=AutoresetMode.DISABLED)
    env = vector.RepeatAction(vector.NormalizeAction(env), 2)
    env = vector.PreviousActionReward(vector.SymlogObservation(vector.TanhReward(env)))
    env = vector.TorchToNumpy(vector.EpisodeDiscount(env, add_to_observation=True))
    obs, _ = env.reset(seed=0)
    ended = 0
    for _ in range(9):
        obs, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        assert isinstance(rewards, np.ndarray)
        assert (abs(rewards) <= 1).all()
        np.testing.assert_allclose(infos["discount"], np.where(terminated, 0, 0.99), rtol=1e-6)
        for row in np.flatnonzero(terminated | truncated):
            ended += 1
            assert not obs["previous_action"][row].any()
            assert infos["final_obs"][row] in env.single_observation_space
    assert ended >= 12  # three episodes of at most five steps in every row
