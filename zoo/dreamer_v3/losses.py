"""
The losses of DreamerV3, each a function of what it is given and of nothing else.

Equations are those of Hafner et al., "Mastering diverse control tasks through world models"
(https://arxiv.org/abs/2301.04104, version 2). Every term is a mean over steps and rows, and is not
weighted.
"""

from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.common.training import derived, reconstruction_losses
from dreamzoo.dreamer_v3.policies import Dream, DreamerV3WorldModel
from dreamzoo.nn.beliefs import divergences
from dreamzoo.nn.distributions import soft_bernoulli_loss
from dreamzoo.nn.networks.heads import TwoHotHead
from dreamzoo.nn.returns import replay_return
from dreamzoo.nn.world_model import Filtered

#: Terms of the loss and metrics, by name.
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


class ModelLoss(NamedTuple):
    """
    What a world model made of a batch.

    Example:
        >>> import torch
        >>> from dreamzoo.dreamer_v3.losses import ModelLoss
        >>> loss = ModelLoss({"reward": torch.ones(())}, {}, torch.ones(2, 8))
        >>> sum(loss.terms.values())
        tensor(1.)

    :param terms: ``recon`` (of a Dict ``recon_<key>``), ``reward``, ``cont``, ``dyn``, ``rep``
    :param metrics: entropies of prior and posterior, ``prior_ent`` and ``post_ent``, nats, (B, T)
    :param discount: predicted for every step, without gradient, (B, T)
    """

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor]
    discount: Tensor


def world_model_loss(
    model: DreamerV3WorldModel,
    filtered: Filtered,
    rewards: Tensor,
    is_terminal: Tensor,
    *,
    gamma: float,
    free_nats: float,
) -> ModelLoss:
    """
    Reconstruction, reward, continuation and two KL terms (eq. 2 and 3).

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.dreamer_v3 import world_model_loss
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> batch = agent.learn(60).replay_buffer.sample(2, batch_length=8)
        >>> model, given = agent.policy.world_model, (batch.rewards, batch.is_terminal)
        >>> filtered = agent.observe_batch(batch)
        >>> sorted(world_model_loss(model, filtered, *given, gamma=0.99, free_nats=1.0).terms)
        ['cont', 'dyn', 'recon', 'rep', 'reward']

    :param model: whose heads predict
    :param filtered: a batch as this model filtered it, with gradient, see
        :meth:`WorldModel.observe_sequence`
    :param rewards: of arriving at every step, (B, T)
    :param is_terminal: steps that end an episode for good; never those of a time limit, (B, T)
    :param gamma: discount that the continue head learns to contain
    :param free_nats: KL terms below this have no gradient
    """
    feat = filtered.latent.feat
    terms = derived(lambda x: reconstruction_losses(model, filtered, x), feat, model.decoder)
    terms["reward"] = model.reward.loss(model.reward(feat), rewards).mean()
    alive = (1.0 - is_terminal.float()) * gamma
    cont = model.cont(feat)[..., 0]
    terms["cont"] = soft_bernoulli_loss(cont, alive).mean()
    dyn, rep, prior_ent, post_ent = divergences(*filtered.belief)
    # Summed over latents first, then clipped for each step.
    terms["dyn"] = dyn.clamp(min=free_nats).mean()
    terms["rep"] = rep.clamp(min=free_nats).mean()
    metrics = {"prior_ent": prior_ent, "post_ent": post_ent}
    return ModelLoss(terms, metrics, th.sigmoid(cont.detach().float()))


def imagination_loss(
    dream: Dream,
    returns: Tensor,
    scale: Tensor,
    critic: TwoHotHead,
    *,
    ent_coef: float,
    slow_coef: float,
) -> Terms:
    """
    Actor and critic on imagined trajectories (eq. 4 and 6).

    Neither loss reaches the world model. Every state counts as much as it is likely to be reached.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.dreamer_v3 import imagination_loss
        >>> from dreamzoo.nn.returns import lambda_return
        >>> policy = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).policy
        >>> dream = policy.imagine(policy.world_model.initial(4), 5)
        >>> returns = lambda_return(dream.reward, dream.discount, dream.value, 0.95)
        >>> scale, weights = policy.return_normalizer.scale, dict(ent_coef=3e-4, slow_coef=1.0)
        >>> terms, metrics = imagination_loss(dream, returns, scale, policy.critic, **weights)
        >>> sorted(terms), terms["actor"].requires_grad
        (['actor', 'critic'], True)

    :param dream: N trajectories of H steps
    :param returns: lambda returns of states 0..H-1, without gradient, (H, N), see
        :func:`dreamzoo.nn.returns.lambda_return`
    :param scale: what advantages are divided by, scalar (eq. 7)
    :param critic: whose predictions the dream holds
    :param ent_coef: weight of the actor's entropy
    :param slow_coef: weight of the slow critic's regularizer
    :return: ``actor`` and ``critic``; metrics
    """
    weight = dream.discount.cumprod(0)[:-1]
    advantage = (returns - dream.value[:-1]) / scale
    objective = dream.log_prob * advantage + ent_coef * dream.entropy
    # The slow critic is a regularizer; returns bootstrap from the critic itself.
    targets = returns, dream.slow_value
    critic_loss = critic.loss(dream.logits, *targets, weights=(1.0, slow_coef))
    terms = {"actor": -(weight * objective).mean(), "critic": (weight * critic_loss).mean()}
    metrics = {
        "actor_entropy": dream.entropy,
        "return_scale": scale,
        "imagined_return": returns,
        "imagined_reward": dream.reward[1:],
        "value": dream.value,
        "value_std": dream.value.std(),
        "advantage_abs": advantage.abs(),
        "weight": weight,
    }
    return terms, metrics


def replay_loss(
    feat: Tensor,
    rewards: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    critic: TwoHotHead,
    slow_critic: TwoHotHead,
    *,
    gamma: float,
    gae_lambda: float,
    slow_coef: float,
) -> Tensor:
    """
    Critic on replayed rewards; its gradient reaches the world model (authors' code, repl_loss).

    Example:
        >>> import torch
        >>> from dreamzoo.dreamer_v3 import replay_loss
        >>> from dreamzoo.nn.networks.heads import TwoHotHead
        >>> critic, feat = TwoHotHead(6, [8], bins=5), torch.zeros(2, 4, 6)
        >>> steps, ends = torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.bool)
        >>> given = (feat, steps, ends, ends, steps, critic, critic)  # no reward, no end
        >>> replay_loss(*given, gamma=0.99, gae_lambda=0.95, slow_coef=1.0).item() > 0
        True

    :param feat: features of filtered states with gradient, (B, K, F)
    :param rewards: of arriving at these steps, (B, K)
    :param is_last: steps that end an episode, which have no successor and count nothing, (B, K)
    :param is_terminal: steps that end it for good, (B, K)
    :param bootstrap: imagined return of every step, (B, K)
    :param critic: learns
    :param slow_critic: regularizes
    :param gamma: discount
    :param gae_lambda: mixes one-step and long returns
    :param slow_coef: weight of the slow critic's regularizer
    :return: scalar; zero for windows of one step
    """
    ends = is_last.float()
    with th.no_grad():
        flags = ends, is_terminal.float()
        targets = replay_return(rewards, *flags, bootstrap, gamma, gae_lambda)
    if not targets.numel():  # a window of one step has no successor to learn from
        return feat.sum() * 0.0
    with th.no_grad():
        slow = slow_critic.mean(feat[:, :-1])
    loss = critic.loss(critic(feat[:, :-1]), targets, slow, weights=(1.0, slow_coef))
    return ((1 - ends[:, :-1]) * loss).mean()
