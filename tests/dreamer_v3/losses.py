"""The public losses with an agent's networks and settings, for tests of one of them."""

from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.dreamer_v3.losses import (
    ModelLoss,
    imagination_loss,
    replay_loss,
    world_model_loss,
)
from dreamzoo.dreamer_v3.policies import Dream
from dreamzoo.nn.returns import lambda_return
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.world_model import Filtered


class Behavior(NamedTuple):
    """
    What actor and critic learn from a dream.

    :param terms: ``actor`` and ``critic``
    :param returns: (H, N)
    :param metrics: more about them
    """

    terms: dict[str, Tensor]
    returns: Tensor
    metrics: dict[str, Tensor]


def sample(agent: DreamerV3, rows: int = 4) -> SequenceBatch:
    assert agent.replay_buffer is not None
    return agent.replay_buffer.sample(rows)


def model_loss(
    agent: DreamerV3, batch: SequenceBatch, filtered: Filtered | None = None
) -> ModelLoss:
    """Judge a batch, or what was made of it."""
    return world_model_loss(
        agent.policy.world_model,
        filtered or agent.observe_batch(batch),
        batch.rewards,
        batch.is_terminal,
        gamma=agent.gamma,
        free_nats=agent.free_nats,
    )


def dream(agent: DreamerV3, rows: int = 6, start_discount: Tensor | None = None) -> Dream:
    """Imagine from random states, always the same, with the same noise."""
    size, generator = agent.policy.world_model.dynamics, th.Generator().manual_seed(0)
    index = th.randint(size.classes, (rows, size.stoch), generator=generator)
    deter = th.randn(rows, size.deter, generator=generator).tanh()
    start = Latent(deter, th.eye(size.classes)[index])
    return agent.policy.imagine(start, agent.horizon, generator, start_discount)


def behavior(agent: DreamerV3, dreamed: Dream) -> Behavior:
    """Judge a dream."""
    normalizer = agent.policy.return_normalizer
    parts = dreamed.reward, dreamed.discount, dreamed.value
    returns = lambda_return(*parts, agent.gae_lambda)
    normalizer.update(returns)
    terms, metrics = imagination_loss(
        dreamed,
        returns,
        normalizer.scale,
        agent.policy.critic,
        ent_coef=agent.ent_coef,
        slow_coef=agent.slow_coef,
    )
    return Behavior(terms, returns, metrics)


def replayed(agent: DreamerV3, feat: Tensor, batch: SequenceBatch, bootstrap: Tensor) -> Tensor:
    """Judge the values of replayed steps."""
    return replay_loss(
        feat,
        batch.rewards,
        batch.is_last,
        batch.is_terminal,
        bootstrap,
        agent.policy.critic,
        agent.policy.critic_target,
        gamma=agent.gamma,
        gae_lambda=agent.gae_lambda,
        slow_coef=agent.slow_coef,
    )
