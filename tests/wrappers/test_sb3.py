"""The wrapper for Stable-Baselines3 answers as the one for gymnasium."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from dreamzoo.wrappers import VecPreviousActionReward, vector


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-2, 2, (2,), np.float32)])
def test_vec_env_agrees_with_vector_env(toy: Any, space: spaces.Space, composed: bool) -> None:
    makers: list[Any] = [
        partial(toy.ToyEnv, row, action_space=space, composed=composed) for row in range(3)
    ]
    env = VecPreviousActionReward(DummyVecEnv(makers))
    other = vector.PreviousActionReward(toy.sync(makers, AutoresetMode.SAME_STEP))
    assert env.observation_space == other.single_observation_space
    toy.assert_same(env.reset(), other.reset()[0])
    space.seed(0)
    endings = 0
    for _ in range(40):
        actions = np.stack([space.sample() for _ in range(3)])
        obs, rewards, dones, infos = env.step(actions)
        assert isinstance(obs, dict)
        expected, *rest, final = other.step(actions)
        toy.assert_same(obs, expected)
        np.testing.assert_allclose(rewards, rest[0], rtol=1e-6)
        for i in np.flatnonzero(dones):
            endings += 1
            last = infos[i]["terminal_observation"]
            toy.assert_same(last, final["final_obs"][i])
            assert toy.as_numpy(last) in env.observation_space
            assert not obs["previous_action"][i].any()
            assert last["previous_reward"][0] == pytest.approx(rewards[i])
    assert endings > 3


def test_sb3_learns_and_evaluates_with_it() -> None:
    env = VecMonitor(VecPreviousActionReward(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2)))
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=16, n_epochs=1).learn(32)
    reward, _ = evaluate_policy(model, env, n_eval_episodes=2)
    assert np.all(np.asarray(reward) > 0)


def test_composed_actions_are_refused(toy: Any) -> None:
    space = spaces.Dict({"a": spaces.Discrete(2)})
    with pytest.raises(TypeError, match="Flatten"):
        VecPreviousActionReward(DummyVecEnv([partial(toy.ToyEnv, action_space=space)]))
