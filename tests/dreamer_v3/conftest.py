"""Make-believe environments and tiny agents."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3.sizes import get_size


class SpaceEnv(gym.Env):
    """
    Random members of any observation space; a reward of one a step.

    :param observation_space: what it shows
    :param action_space: what it takes
    :param length: steps of an episode; 0 never ends
    :param truncate: episodes end by a time limit
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        length: int = 0,
        truncate: bool = False,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.length, self.truncate = length, truncate
        self.age = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.age = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.age += 1
        end = self.age == self.length
        return self.observe(), 1.0, end and not self.truncate, end and self.truncate, {}

    def observe(self) -> Any:
        return self.observation_space.sample()


class CounterEnv(SpaceEnv):
    """Shows how many observations it has shown in all its life; the reward is the same number."""

    def __init__(self, length: int = 0, truncate: bool = False) -> None:
        box = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        super().__init__(box, spaces.Discrete(3), length, truncate)
        self.shown = -1

    def observe(self) -> Any:
        self.shown += 1
        return np.array([self.shown], np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(self.shown), terminated, truncated, info


class EchoEnv(SpaceEnv):
    """Shows the action that led here as -1 or 1, 0 at the start."""

    def __init__(self, length: int = 20) -> None:
        box = spaces.Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(box, spaces.Discrete(2), length, truncate=True)
        self.last = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.last = 0.0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.last = 2.0 * int(action) - 1.0
        return super().step(action)

    def observe(self) -> Any:
        return np.array([self.last], np.float32)


MakeAgent = Callable[..., DreamerV3]

#: With few bins, wrong targets would give the same loss as right ones.
DEBUG = replace(get_size("debug"), bins=255)

#: Small enough for milliseconds an update, large enough that nothing is degenerate.
TINY: dict[str, Any] = {
    "batch_size": 4,
    "batch_length": 8,
    "horizon": 3,
    "train_ratio": 16,
    "buffer_size": 10_000,
}


def _make_agent(
    make_env: Callable[[], gym.Env] | VecEnv | None = None, n_envs: int = 1, **kwargs: Any
) -> DreamerV3:
    """Build an agent of size ``debug``; by default for short vectors and three actions."""
    if not isinstance(make_env, VecEnv):
        single = make_env or (
            lambda: SpaceEnv(spaces.Box(-1, 1, (3,)), spaces.Discrete(3), length=7)
        )
        env: VecEnv = DummyVecEnv([single] * n_envs)
    else:
        env = make_env
    policy = kwargs.pop("policy", "MlpPolicy")
    policy_kwargs = {"size": DEBUG, **kwargs.pop("policy_kwargs", {})}
    settings = {**TINY, "seed": 0, "device": "cpu", "policy_kwargs": policy_kwargs, **kwargs}
    return DreamerV3(policy, env, **settings)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    th.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def make_agent() -> MakeAgent:
    return _make_agent


@pytest.fixture
def collected(make_agent: MakeAgent) -> MakeAgent:
    """Agents that have collected 60 steps of every environment, but not learned, nor kept zeros."""

    def make(*args: Any, **kwargs: Any) -> DreamerV3:
        agent = make_agent(*args, learning_starts=10**6, **kwargs)
        agent.learn(60 * agent.n_envs)
        generator = th.Generator().manual_seed(7)
        for p in agent.policy.parameters():
            noise = 0.2 * th.randn(p.shape, generator=generator)
            p.data.add_(noise if p.requires_grad else 0.0)
        agent.policy.critic_target.load_state_dict(agent.policy.critic.state_dict())
        return agent

    return make


@pytest.fixture
def space_env() -> type[SpaceEnv]:
    return SpaceEnv


@pytest.fixture
def counter_env() -> type[CounterEnv]:
    return CounterEnv


@pytest.fixture
def echo_env() -> type[EchoEnv]:
    return EchoEnv
