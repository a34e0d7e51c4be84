"""The last test: returns rise."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo import DreamerV3


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
def test_cartpole_is_five_times_better_than_random(seed: int) -> None:
    """The demo's setting; a random policy earns about 22."""
    model = DreamerV3(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=4, seed=seed),
        learning_rate=3e-4,
        batch_length=16,
        imagination_last=8,
        train_ratio=256,
        policy_kwargs=dict(size="1m", optimizer_kwargs=dict(warmup=100)),
        seed=seed,
    ).learn(1_800)
    eval_env = make_vec_env("CartPole-v1", n_envs=20, seed=seed + 1_000)
    mean, _ = evaluate_policy(model, eval_env, 20, deterministic=False)
    assert isinstance(mean, float)
    assert mean > 110.0


@pytest.mark.learning
def test_policy_entropy_falls_where_one_action_is_rewarded() -> None:
    """A bandit: within a few hundred updates the policy chooses the rewarded action."""
    import gymnasium as gym

    class Bandit(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        action_space = gym.spaces.Discrete(3)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
            super().reset(seed=seed)
            self.age = 0
            return np.zeros(2, np.float32), {}

        def step(self, action: int) -> tuple:
            self.age += 1
            return np.zeros(2, np.float32), float(action == 1), False, self.age == 20, {}

    model = DreamerV3(
        "MlpPolicy",
        make_vec_env(Bandit, n_envs=4, seed=0),
        learning_rate=3e-4,
        batch_length=16,
        imagination_last=4,
        train_ratio=128,
        policy_kwargs=dict(size="1m", optimizer_kwargs=dict(warmup=100)),
        seed=0,
    ).learn(1_200)
    feat = model.policy.initial_state(1).latent.feat
    with th.no_grad():
        entropy = float(model.policy.actor(feat).entropy())
    assert entropy < 0.5 * model.policy.actor.max_entropy()
    actions, _ = model.predict(np.zeros((50, 2), np.float32))
    assert (actions == 1).mean() > 0.8
