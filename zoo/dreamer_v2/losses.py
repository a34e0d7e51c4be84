"""
The losses of DreamerV2, each a function of what it is given and of nothing else.

Equations are those of Hafner et al., "Mastering Atari with discrete world models"
(https://arxiv.org/abs/2010.02193), details those of https://github.com/danijar/dreamerv2.
Likelihoods are summed over what they describe; every term is a mean and is not weighted.
"""

from typing import Any, NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.common.training import reconstruction_losses
from dreamzoo.nn.beliefs import Belief, divergences, free_mean
from dreamzoo.nn.dreamer_model import DreamerWorldModel
from dreamzoo.nn.networks.actors import DenseActor
from dreamzoo.nn.networks.world_models import NormalHead, unit_variance_loss
from dreamzoo.nn.returns import discount_weights, inclusive_lambda_return
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.world_model import Filtered

#: Terms of the loss and metrics, by name.
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


class Dream(NamedTuple):
    """
    N trajectories of H steps each, from where they start, and what the actor thinks of its actions.

    What follows from actions has a gradient towards these, unless nobody learns from it; nothing
    here has one towards model and slow critic.

    :param feat: features of states 0..H, (H + 1, N, F)
    :param reward: of arriving in them, (H + 1, N)
    :param discount: after them, (H + 1, N)
    :param slow_value: of them, their own rewards included, (H + 1, N)
    :param log_prob: of the actions chosen in states 0..H-2, these held fixed, (H - 1, N)
    :param entropy: of the policy in states 0..H-2, (H - 1, N)
    """

    feat: Tensor
    reward: Tensor
    discount: Tensor
    slow_value: Tensor
    log_prob: Tensor
    entropy: Tensor


def world_model_loss(
    model: DreamerWorldModel,
    filtered: Filtered,
    rewards: Tensor,
    alive: Tensor,
    *,
    kl_balance: float | None,
    free_nats: float,
    image_gradients: bool = True,
    reward_gradients: bool = True,
) -> Terms:
    """
    Reconstruction, reward, KL divergence; continuation if the model has a head for it (eq. 2).

    Example:
        >>> from dreamzoo.dreamer_v2 import DreamerV2, world_model_loss
        >>> agent = DreamerV2("MlpPolicy", "CartPole-v1", seed=0, **DreamerV2.smallest)
        >>> batch = agent.learn(30).replay_buffer.sample(2)
        >>> given = agent.policy.world_model, agent.observe_batch(batch), batch.rewards.tanh()
        >>> alive = agent.gamma * (~batch.is_terminal).float()
        >>> terms, metrics = world_model_loss(*given, alive, kl_balance=0.8, free_nats=0.0)
        >>> sorted(terms)
        ['cont', 'kl', 'recon', 'reward']

    :param model: whose heads predict
    :param filtered: states of a batch, with gradient, and what they should reproduce
    :param rewards: of arriving at every step, as the reward head is to predict them, (B, T)
    :param alive: what the continue head learns: gamma, and zero where an episode ended for good,
        never where only time was up, (B, T)
    :param kl_balance: see :func:`balanced_kl`
    :param free_nats: see :func:`balanced_kl`
    :param image_gradients: False: what is decoded teaches the decoder alone (table 2's ablation
        "No Image Gradients")
    :param reward_gradients: False: rewards teach their head alone ("No Reward Gradients")
    :return: ``recon`` (of a Dict ``recon_<key>``), ``reward``, ``cont``, ``kl``; metrics
    """
    feat = filtered.latent.feat
    terms = reconstruction_losses(model, filtered, feat if image_gradients else feat.detach())
    reward_feat = feat if reward_gradients else feat.detach()
    predictions, metrics = model.prediction_losses(reward_feat, feat, rewards, alive)
    kl, nats = balanced_kl(filtered.belief, kl_balance, free_nats)
    return terms | predictions | {"kl": kl}, metrics | nats


def balanced_kl(
    belief: Belief[Any], kl_balance: float | None, free_nats: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """
    Compute the KL divergence of posterior and prior, which moves the prior more (eq. 3).

    Example:
        >>> import torch
        >>> from dreamzoo.dreamer_v2 import balanced_kl
        >>> from dreamzoo.nn.beliefs import Belief, Categorical
        >>> post, prior = (torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(2))
        >>> expected = Categorical.from_logits(prior)
        >>> belief = Belief(Categorical.from_logits(post), lambda: expected)
        >>> loss, _ = balanced_kl(belief, 0.8, 0.0)
        >>> to_prior, to_post = torch.autograd.grad(loss, [prior, post], retain_graph=True)
        >>> plain, _ = balanced_kl(belief, None, 0.0)
        >>> fully = torch.autograd.grad(plain, [prior, post])
        >>> torch.testing.assert_close(to_prior, 0.8 * fully[0])
        >>> torch.testing.assert_close(to_post, 0.2 * fully[1])

    :param belief: of all steps, (B, T, ...)
    :param kl_balance: share of the prior's gradient (0.8); None: the plain divergence, whose
        gradients both count fully. A share of 0.5 is something else: it halves both
    :param free_nats: each of the two means counts at least so much, and below it has no gradient
    :return: scalar; metrics in nats, (B, T)
    """
    post, prior = belief
    dyn, rep, prior_ent, post_ent = divergences(post, prior)
    if kl_balance is None:
        loss = free_mean(post.kl(prior), free_nats)
    else:
        to_prior, to_post = (free_mean(x, free_nats) for x in (dyn, rep))
        loss = kl_balance * to_prior + (1.0 - kl_balance) * to_post
    return loss, {"kl": rep, "prior_ent": prior_ent, "post_ent": post_ent}


def imagine(
    model: DreamerWorldModel,
    actor: DenseActor,
    slow_critic: NormalHead,
    start: Latent,
    is_terminal: Tensor,
    horizon: int,
    *,
    gamma: float,
    through_dynamics: bool,
    generator: th.Generator | None = None,
) -> Dream:
    """
    Roll the actor out from every state.

    Example:
        >>> from dreamzoo.dreamer_v2 import DreamerV2, imagine
        >>> agent = DreamerV2("MlpPolicy", "CartPole-v1", seed=0, **DreamerV2.smallest)
        >>> policy, model = agent.policy, agent.policy.world_model
        >>> networks, start = (model, policy.actor, policy.critic_target), model.initial(4)
        >>> ended = start.deter.new_zeros(4).bool()
        >>> dream = imagine(*networks, start, ended, 5, gamma=0.99, through_dynamics=False)
        >>> dream.feat.shape, dream.log_prob.shape  # states 0..5, actions that are judged
        (torch.Size([6, 4, 20]), torch.Size([4, 4]))

    :param model: predicts
    :param actor: chooses
    :param slow_critic: judges
    :param start: where to begin, (N, ...)
    :param is_terminal: whether an episode ended there for good, (N,): nothing counts after it
        where a head predicts ends; as in the published code, everything does where none does
    :param horizon: steps H, at least 2
    :param gamma: discount
    :param through_dynamics: keep the graph from actions to what follows
    :param generator: source of randomness
    """
    feat, policy, actions, reward, discount, value, _ = model.imagine(
        start, actor, slow_critic, horizon, gamma, generator, graph=through_dynamics
    )
    if model.learns_discount:  # of the start it is known
        discount = th.cat([gamma * (~is_terminal).float()[None], discount[1:]])
    # The last action leads to the last state, whose value no return but its own judges.
    log_prob, entropy = policy.log_prob(actions.detach())[:-1], policy.entropy()[:-1]
    return Dream(feat, reward, discount, value, log_prob, entropy)


def behavior_loss(
    dream: Dream,
    critic: NormalHead,
    *,
    rho: float | Tensor,
    ent_coef: float | Tensor,
    gae_lambda: float,
) -> Terms:
    """
    Actor and critic on imagined trajectories (eq. 4 to 6).

    An action chosen in state k leads to state k + 1, whose return it is judged by. Every state
    counts as much as it is likely to be reached.

    Example:
        >>> from dreamzoo.dreamer_v2 import DreamerV2, behavior_loss, imagine
        >>> agent = DreamerV2("MlpPolicy", "CartPole-v1", seed=0, **DreamerV2.smallest)
        >>> policy, model = agent.policy, agent.policy.world_model
        >>> networks, start = (model, policy.actor, policy.critic_target), model.initial(4)
        >>> ended = start.deter.new_zeros(4).bool()
        >>> dream = imagine(*networks, start, ended, 5, gamma=0.99, through_dynamics=True)
        >>> weights = dict(rho=0.9, ent_coef=3e-3, gae_lambda=0.95)
        >>> terms, metrics = behavior_loss(dream, policy.critic, **weights)
        >>> sorted(terms), metrics["advantage_abs"].shape
        (['actor', 'critic'], torch.Size([4, 4]))

    :param dream: N trajectories of H steps
    :param critic: learns the returns of states 0..H-1
    :param rho: share of REINFORCE in the actor's objective; the rest goes through the dynamics
    :param ent_coef: weight of the actor's entropy
    :param gae_lambda: mixes one-step and long returns
    :return: ``actor`` and ``critic``; metrics
    """
    slow = dream.slow_value
    returns = inclusive_lambda_return(dream.reward, dream.discount, slow, gae_lambda)
    weight = discount_weights(dream.discount)
    advantage = (returns[1:] - slow[:-2]).detach()
    objective = rho * dream.log_prob * advantage + (1.0 - rho) * returns[1:]
    objective = objective + ent_coef * dream.entropy
    value = critic(dream.feat[:-1].detach())
    critic_loss = weight[:-1] * unit_variance_loss(value, returns.detach())
    terms = {"actor": -(weight[:-2] * objective).mean(), "critic": critic_loss.mean()}
    metrics = {
        "actor_entropy": dream.entropy,
        "imagined_return": returns,
        "imagined_reward": dream.reward,
        "value": value,
        "advantage_abs": advantage.abs(),
        "weight": weight,
    }
    return terms, {name: metric.detach() for name, metric in metrics.items()}
