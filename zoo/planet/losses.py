"""
The losses of PlaNet, each a function of what it is given and of nothing else.

Equations are those of Hafner et al., "Learning latent dynamics for planning from pixels"
(https://arxiv.org/abs/1811.04551). Likelihoods are summed over what they describe; every term is a
mean over steps and rows, and is not weighted.
"""

import torch as th
from torch import Tensor

from dreamzoo.common.training import reconstruction_losses
from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.networks.world_models import unit_variance_loss
from dreamzoo.nn.rssm.gaussian import GaussianDynamics, overshoot
from dreamzoo.nn.world_model import Filtered
from dreamzoo.planet.policies import PlaNetWorldModel

#: Share of the posterior's way in the loss that draws the means of the deterministic model
#: together: that of KL balancing in DreamerV2, eq. 2.
POSTERIOR_SHARE = 0.2


def world_model_loss(
    model: PlaNetWorldModel, filtered: Filtered, rewards: Tensor, *, free_nats: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """
    Reconstruction, reward and KL divergence (eq. 3).

    Example:
        >>> from dreamzoo import PlaNet
        >>> from dreamzoo.planet import world_model_loss
        >>> tiny = dict(deter=8, stoch=4, units=8, reward_arch=[8])
        >>> agent = PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=tiny, learning_starts=100)
        >>> batch = agent.learn(60).replay_buffer.sample(2, batch_length=8)
        >>> model, filtered = agent.policy.world_model, agent.observe_batch(batch)
        >>> terms, metrics = world_model_loss(model, filtered, batch.rewards, free_nats=3.0)
        >>> sorted(terms)
        ['kl', 'recon', 'reward']

    :param model: whose decoder and reward head predict
    :param filtered: a batch as this model filtered it, with gradient, see
        :meth:`WorldModel.observe_sequence`
    :param rewards: of arriving at every step, (B, T)
    :param free_nats: KL divergences below this have no gradient
    :return: ``recon`` (of a Dict ``recon_<key>``), ``reward`` and ``kl``; metrics in nats, (B, T)
    """
    post, prior = filtered.belief
    feat = filtered.latent.feat
    terms = reconstruction_losses(model, filtered, feat)
    terms["reward"] = unit_variance_loss(model.reward(feat), rewards).mean()
    if not model.dynamics.sample:
        terms["kl"] = distance_of_means(post, prior).mean()
        return terms, {}
    kl = post.kl(prior)
    terms["kl"] = beyond(kl, free_nats).mean()
    return terms, {"kl": kl, "prior_ent": prior.entropy(), "post_ent": post.entropy()}


def beyond(nats: Tensor, free_nats: float) -> Tensor:
    """Return what exceeds the free nats, in every step, before anything is averaged, (B, T)."""
    return (nats - free_nats).clamp(min=0.0)


def distance_of_means(post: Gaussian, prior: Gaussian) -> Tensor:
    """
    Draw the beliefs of the deterministic model together; its KL divergence means nothing.

    The prior moves towards the posterior, and a fifth as much the other way.

    :param post: (B, T, S)
    :param prior: (B, T, S)
    :return: (B, T)
    """
    to_prior = unit_variance_loss(prior.mean, post.mean.detach()).sum(-1)
    to_post = unit_variance_loss(post.mean, prior.mean.detach()).sum(-1)
    return to_prior + POSTERIOR_SHARE * to_post


def overshooting_loss(
    dynamics: GaussianDynamics,
    filtered: Filtered,
    actions: Tensor,
    is_first: Tensor,
    *,
    distance: int,
    free_nats: float,
    generator: th.Generator | None = None,
) -> Tensor:
    """
    Draw predictions over 2 to D steps to the posterior, which is held fixed (eq. 6).

    A distance of one step is the ordinary KL term, which keeps its weight; the others are divided
    by D. Predictions that would reach back across a start count as zero.

    Example:
        >>> import torch
        >>> from dreamzoo import PlaNet
        >>> from dreamzoo.planet import overshooting_loss
        >>> tiny = dict(deter=8, stoch=4, units=8, reward_arch=[8])
        >>> agent = PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=tiny, learning_starts=100)
        >>> batch = agent.learn(60).replay_buffer.sample(2, batch_length=8)
        >>> dynamics, filtered = agent.policy.world_model.dynamics, agent.observe_batch(batch)
        >>> given = (dynamics, filtered, batch.actions.float(), batch.is_first)
        >>> overshooting_loss(*given, distance=3, free_nats=0.0).item() > 0
        True

    :param dynamics: predicts
    :param filtered: a batch as this model filtered it, with gradient
    :param actions: encoded, ``actions[:, t]`` led to step t, (B, T, A)
    :param is_first: steps that start an episode, (B, T)
    :param distance: largest number of steps D, at least 2
    :param free_nats: KL divergences below this have no gradient
    :param generator: source of the predicted states' randomness
    :return: scalar
    """
    prior, exists = overshoot(dynamics, filtered.latent, actions, is_first, distance, generator)
    post = filtered.belief.post.detach()
    if dynamics.sample:
        divergence = beyond(post.kl(prior), free_nats)
    else:
        divergence = unit_variance_loss(prior.mean, post.mean).sum(-1)
    longer = th.where(exists, divergence, 0.0)[1:]  # (D - 1, B, T)
    return longer.mean(dim=(1, 2)).sum() / distance
