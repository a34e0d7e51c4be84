"""Every agent, in the smallest size that still learns."""

import inspect
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo import AGENTS
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.testing.random_env import RandomEnv
from tests.facts import (
    HAS_MODEL,
    HAS_REPLAY,
    ON_POLICY,
    SHARED,
    WORLD_MODELS,
    Facts,
    facts_of,
)

Agent = MemoryAgent
MakeAgent = Callable[..., Agent]
MakeEnv = Callable[..., RandomEnv]

#: Every agent by its name.
KINDS: dict[str, Any] = {**AGENTS}
#: What makes an update of an agent take milliseconds, by its name.
TINY: dict[str, dict[str, Any]] = {name: dict(agent.smallest) for name, agent in KINDS.items()}
TINY_POLICY: dict[str, dict[str, Any]] = {n: tiny.pop("policy_kwargs") for n, tiny in TINY.items()}

#: Action spaces that an agent takes; the tests of the others are skipped.
ACTIONS: dict[str, tuple[type[spaces.Space], ...]] = {
    name: agent.action_spaces for name, agent in KINDS.items()
}


#: For tests of what not every agent has.
of_replays = pytest.mark.parametrize("agent_name", HAS_REPLAY)
of_windows = pytest.mark.parametrize("agent_name", ON_POLICY)
of_models = pytest.mark.parametrize("agent_name", HAS_MODEL)
of_world_models = pytest.mark.parametrize("agent_name", WORLD_MODELS)


@pytest.fixture(params=SHARED)
def agent_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def agent_class(agent_name: str) -> type[Agent]:
    return KINDS[agent_name]


@pytest.fixture
def facts(agent_name: str) -> Facts:
    return facts_of(agent_name)


@pytest.fixture
def tiny_policy(agent_name: str) -> dict[str, Any]:
    """``policy_kwargs`` of the smallest networks."""
    return TINY_POLICY[agent_name]


@pytest.fixture
def still(agent_name: str) -> Callable[[int], dict[str, Any]]:
    """Settings with which an agent only collects in so many steps, and learns at most behind."""

    def settings(steps: int) -> dict[str, Any]:
        return {"gradient_steps": 0} if agent_name in HAS_REPLAY else {"n_steps": steps}

    return settings


@pytest.fixture
def update(agent_name: str) -> Callable[[Agent], None]:
    """Update an agent once on what it has stored."""
    if agent_name in HAS_REPLAY:
        return lambda agent: agent.train(1)  # type: ignore[attr-defined]
    return lambda agent: agent.train()  # type: ignore[attr-defined]


@pytest.fixture
def actor_critic(agent_class: type[Agent]) -> None:
    """Skip agents that plan instead."""
    if "net_arch" not in inspect.signature(agent_class.policy_aliases["MlpPolicy"]).parameters:
        pytest.skip("has neither actor nor critic")


@pytest.fixture
def make_env() -> MakeEnv:
    return RandomEnv


@pytest.fixture
def make_agent(agent_name: str, agent_class: type[Agent]) -> MakeAgent:
    """Make a tiny agent; ``env`` is anything that SB3 takes, or None for two random vectors."""

    def make(
        env: gym.Env | VecEnv | str | None = None,
        policy: str | type = "MlpPolicy",
        n_envs: int = 1,
        **kwargs: Any,
    ) -> Agent:
        env = gym.make(env) if isinstance(env, str) else env
        env = env or DummyVecEnv([lambda: Monitor(RandomEnv())] * n_envs)
        if not isinstance(env.action_space, ACTIONS[agent_name]):
            pytest.skip(f"{agent_name} does not take {env.action_space}")
        kwargs["policy_kwargs"] = {**TINY_POLICY[agent_name], **kwargs.pop("policy_kwargs", {})}
        size = {"buffer_size": 1000, "train_ratio": 2.0} if agent_name in HAS_REPLAY else {}
        settings = {**TINY[agent_name], **size, "seed": 0, **kwargs}
        return agent_class(policy, env, **settings)

    return make


@pytest.fixture
def shake() -> Callable[[Agent], Agent]:
    """Move all parameters: a fresh agent ignores what it sees, its heads being almost zero."""

    def move(agent: Agent) -> Agent:
        generator = th.Generator().manual_seed(1)
        with th.no_grad():
            for parameter in agent.policy.parameters():
                parameter.add_(th.randn(parameter.shape, generator=generator))
        return agent

    return move


@pytest.fixture
def same_parameters() -> Callable[[Agent, Agent], bool]:
    """Compare two agents bit for bit."""

    def compare(one: Agent, other: Agent) -> bool:
        ours, theirs = one.policy.state_dict(), other.policy.state_dict()
        return ours.keys() == theirs.keys() and all(th.equal(ours[k], theirs[k]) for k in ours)

    return compare
