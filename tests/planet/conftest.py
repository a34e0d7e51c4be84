"""A small PlaNet."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import PlaNet
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

MakeAgent = Callable[..., PlaNet]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    th.manual_seed(0)


@pytest.fixture
def make_agent() -> MakeAgent:
    """Make a tiny PlaNet on random observations and actions of two numbers."""

    def make(
        space: spaces.Space | None = None,
        policy: str = "MlpPolicy",
        length: int = 10,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> PlaNet:
        env = RandomEnv(length=length) if space is None else RandomEnv(space, length=length)
        settings = {**TINY["planet"], "buffer_size": 1_000, "seed": 0, **kwargs}
        widths = {**TINY_POLICY["planet"], **(policy_kwargs or {})}
        return PlaNet(policy, env, policy_kwargs=widths, **settings)

    return make
