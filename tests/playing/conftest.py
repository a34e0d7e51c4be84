"""Untrained agents to play with."""

from typing import Any

import pytest

from dreamzoo import DreamerV3
from dreamzoo.playing import PlaySession
from dreamzoo.playing.reality import maker
from tests.facts import HAS_MODEL

SMALL: dict[str, Any] = dict(DreamerV3.smallest)


def agent_of(name: str, env: Any = "Pendulum-v1") -> Any:
    """Make an agent as small as it can be."""
    return HAS_MODEL[name]("MlpPolicy", env, seed=0, device="cpu", **HAS_MODEL[name].smallest)


@pytest.fixture(scope="session")
def cartpole() -> DreamerV3:
    return DreamerV3("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **SMALL)


@pytest.fixture(scope="session")
def pendulum() -> DreamerV3:
    return DreamerV3("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", **SMALL)


@pytest.fixture
def session(cartpole: DreamerV3) -> PlaySession:
    """Of CartPole, beside the real one, not begun."""
    return PlaySession(cartpole, maker(cartpole, "CartPole-v1"))
