"""Tiny agents to dream with, and what they look at."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamVectorEnv


class Toy(gym.Env):
    """
    Random observations of any space, five steps an episode.

    :param observation_space: what it shows
    :param action_space: what it takes
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.age += 1
        return self.observation_space.sample(), 1.0, self.age == 5, False, {}


VECTOR = spaces.Box(-2, 2, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MIXED = spaces.Dict({"image": IMAGE, "number": spaces.Discrete(4), "vector": VECTOR})
DISCRETE = spaces.Discrete(3)
SHIFTED = spaces.Discrete(3, start=1)
BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32))


def make_agent(
    observation_space: spaces.Space, action_space: spaces.Space, steps: int = 60, **kwargs: Any
) -> DreamerV3:
    """Train a tiny agent for nothing but to have one."""
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    policy = "CnnPolicy" if len(observation_space.shape or ()) == 3 else policy
    env = make_vec_env(lambda: Toy(observation_space, action_space), n_envs=2, seed=0)
    return DreamerV3(
        policy,
        env,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=1,
        seed=0,
        **kwargs,
    ).learn(steps)


@pytest.fixture(scope="session")
def agent() -> DreamerV3:
    return make_agent(VECTOR, DISCRETE)


@pytest.fixture(scope="session")
def image_agent() -> DreamerV3:
    return make_agent(IMAGE, BOX)


def rollout(dream: DreamVectorEnv, steps: int = 12, seed: int = 3) -> list[th.Tensor]:
    """Collect everything that a few steps of random actions return."""
    dream.action_space.seed(0)
    obs, _ = dream.reset(seed=seed)
    assert isinstance(obs, th.Tensor)
    seen = [obs]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
        assert isinstance(obs, th.Tensor)
        seen += [obs, reward, terminated, truncated, info["latent"], info["continue"]]
    return seen
