"""Imagination that actors learn through: with a graph from actions to everything after them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.networks.actors import DenseActionDistribution
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent


class Rollout(NamedTuple):
    """
    What an actor lived through in imagination, N times, time first.

    :param feat: features of states 0..H, (H + 1, N, F)
    :param actions: chosen in states 0..H-1, as the dynamics read them, (H, N, A)
    """

    feat: Tensor
    actions: Tensor


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """
    Let gradients pass through modules without reaching their parameters.

    What is computed inside treats the parameters as constants, also if it is differentiated later;
    graphs that were recorded before keep theirs. Under ``torch.no_grad()`` an actor would learn
    nothing, and unfrozen it would train the model to please it.

    :param modules: whose parameters are held
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def imagine_with_gradient(
    dynamics: Dynamics,
    start: Latent,
    actor: Callable[[Tensor], DenseActionDistribution],
    horizon: int,
    generator: th.Generator | None = None,
) -> Rollout:
    """
    Roll an actor out from every state.

    Actions depend on features that are cut off, so that an actor learns from what its actions lead
    to, not from how earlier ones change what it sees (code of both papers).

    Example:
        >>> from dreamzoo.nn.action_distributions import TanhNormalActions
        >>> from dreamzoo.nn.rssm.gaussian import GaussianRSSM
        >>> from dreamzoo.nn.rssm.imagination import imagine_with_gradient
        >>> dynamics = GaussianRSSM(token_dim=5, action_dim=2, deter=8, stoch=3, units=6)
        >>> def actor(feat):  # means and deviations from the first numbers
        ...     return TanhNormalActions(feat[:, :2], feat[:, 2:4])
        >>> imagine_with_gradient(dynamics, dynamics.initial(4), actor, horizon=5).feat.shape
        torch.Size([6, 4, 11])

    :param dynamics: moves states
    :param start: where to begin, (N, ...); cut off as well
    :param actor: from features (N, F) to a distribution of actions
    :param horizon: steps H
    :param generator: source of randomness
    """
    latent = start.detach()
    feats, actions = [latent.feat], []
    for _ in range(horizon):
        actions.append(actor(feats[-1].detach()).sample(generator))
        latent = dynamics.imagine_step(latent, actions[-1], generator)
        feats.append(latent.feat)
    return Rollout(th.stack(feats), th.stack(actions))
