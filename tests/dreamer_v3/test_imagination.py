"""Imagined trajectories: what is random in them, and what must not matter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import DreamerV3
from dreamzoo.nn.rssm import block
from dreamzoo.nn.rssm.dynamics import Latent

MakeAgent = Callable[..., DreamerV3]

ROWS = 13
ACTION_SPACES = [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))]


@pytest.fixture(params=ACTION_SPACES, ids=["discrete", "multi", "box"])
def agent(request: pytest.FixtureRequest, collected: MakeAgent, space_env: Any) -> DreamerV3:
    return collected(lambda: space_env(spaces.Box(-1, 1, (3,)), request.param, length=7))


def _starts(agent: DreamerV3) -> Latent:
    dynamics = agent.world_model.dynamics
    generator = th.Generator().manual_seed(2)
    index = th.randint(dynamics.classes, (ROWS, dynamics.stoch), generator=generator)
    deter = th.randn(ROWS, dynamics.deter, generator=generator).tanh()
    return Latent(deter, th.nn.functional.one_hot(index, dynamics.classes).float())


def _imagine(agent: DreamerV3) -> tuple[th.Tensor, ...]:
    generator = th.Generator().manual_seed(1)
    dream = agent.policy.imagine(_starts(agent), agent.horizon, generator)
    return dream.feat, dream.log_prob.detach(), th.rand(3, generator=generator)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_the_size_of_pieces_and_threads_do_not_matter(
    agent: DreamerV3, rows: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _imagine(agent)
    monkeypatch.setattr(block, "DREAM_ROWS", rows)
    before = th.get_num_threads()
    th.set_num_threads(threads)
    try:
        pieces = _imagine(agent)
    finally:
        th.set_num_threads(before)
    for one, other in zip(whole, pieces, strict=True):
        th.testing.assert_close(one, other)


def test_noise_is_drawn_once_for_all_rows_and_steps(agent: DreamerV3) -> None:
    """Against a loop: first the noise of all actions, then that of all latents."""
    generator = th.Generator().manual_seed(1)
    dynamics: Any = agent.world_model.dynamics
    actor = agent.policy.actor
    codec, horizon = agent.policy.action_codec, agent.horizon
    if codec.is_discrete:
        noise = th.rand(horizon, ROWS, len(codec.sizes), generator=generator)
    else:
        noise = th.randn(horizon, ROWS, codec.dim, generator=generator)
    draws = th.rand(horizon, ROWS, dynamics.stoch, generator=generator)
    feat, _, rest = _imagine(agent)
    for t in range(horizon):
        with th.no_grad():
            policy: Any = actor(feat[t])
            if codec.is_discrete:
                parts = [
                    (p.cumsum(-1) <= noise[t, :, i, None]).sum(-1)
                    for i, p in enumerate(policy.probs)
                ]
                action = th.stack(parts, dim=-1)
            else:
                action = policy.mean + policy.std * noise[t]
            step = dynamics.imagination(ROWS).step
            expected = step(feat[t], codec.encode(action), draws[t], th.empty_like(feat[t]))
        th.testing.assert_close(feat[t + 1], expected)
    assert th.equal(rest, th.rand(3, generator=generator))  # and nothing else was drawn
