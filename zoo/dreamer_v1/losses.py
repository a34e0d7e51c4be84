"""
The losses of Dreamer V1, each a function of what it is given and of nothing else.

Equations are those of Hafner et al., "Dream to control: learning behaviors by latent imagination"
(https://arxiv.org/abs/1912.01603), details those of https://github.com/danijar/dreamer. Likelihoods
are summed over what they describe; every term is a mean and is not weighted.
"""

from torch import Tensor

from dreamzoo.common.training import reconstruction_losses
from dreamzoo.nn.beliefs import free_mean
from dreamzoo.nn.dreamer_model import DreamerWorldModel, Imagined
from dreamzoo.nn.networks.world_models import unit_variance_loss
from dreamzoo.nn.returns import discount_weights, inclusive_lambda_return
from dreamzoo.nn.world_model import Filtered

#: Terms of the loss and metrics, by name.
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


def world_model_loss(
    model: DreamerWorldModel, filtered: Filtered, rewards: Tensor, alive: Tensor, free_nats: float
) -> Terms:
    """
    Reconstruction, reward, KL divergence; continuation if the model has a head for it (eq. 10).

    Example:
        >>> from dreamzoo.dreamer_v1 import DreamerV1, world_model_loss
        >>> agent = DreamerV1("MlpPolicy", "CartPole-v1", seed=0, **DreamerV1.smallest)
        >>> batch = agent.learn(30).replay_buffer.sample(2)
        >>> given = agent.policy.world_model, agent.observe_batch(batch), batch.rewards
        >>> alive = agent.gamma * (~batch.is_terminal).float()
        >>> terms, metrics = world_model_loss(*given, alive, free_nats=3.0)
        >>> sorted(terms), terms["kl"].item()  # untrained, it is below the free nats
        (['cont', 'kl', 'recon', 'reward'], 3.0)

    :param model: whose heads predict
    :param filtered: states of a batch, with gradient, and what they should reproduce
    :param rewards: of arriving at every step, (B, T)
    :param alive: discount after every step: gamma, but zero where an episode ended for good, never
        where only time was up, (B, T)
    :param free_nats: a mean KL divergence below this has no gradient
    :return: ``recon`` (of a Dict ``recon_<key>``), ``reward``, ``cont``, ``kl``; metrics
    """
    feat = filtered.latent.feat
    terms = reconstruction_losses(model, filtered, feat)
    predictions, metrics = model.prediction_losses(feat, feat, rewards, alive)
    post, prior = filtered.belief
    kl = post.kl(prior)
    # Clipped after the mean, as the authors' later code does; PlaNet clips every step.
    terms |= predictions | {"kl": free_mean(kl, free_nats)}
    entropies = {"prior_ent": prior.entropy(), "post_ent": post.entropy()}
    return terms, {"kl": kl, **entropies, **metrics}


def behavior_loss(dream: Imagined, is_terminal: Tensor, *, gae_lambda: float) -> Terms:
    """
    Actor and critic on imagined trajectories (eq. 6 to 8).

    The actor climbs the returns themselves, through values, rewards and dynamics. Every state
    counts as much as it is likely to be reached; the one that a dream starts from does not count.

    Example:
        >>> from dreamzoo.dreamer_v1 import DreamerV1, behavior_loss
        >>> agent = DreamerV1("MlpPolicy", "CartPole-v1", seed=0, **DreamerV1.smallest)
        >>> policy, model = agent.policy, agent.policy.world_model
        >>> dream = model.imagine(model.initial(4), policy.actor, policy.critic, 5, agent.gamma)
        >>> ended = dream.feat.new_zeros(4).bool()
        >>> terms, metrics = behavior_loss(dream, ended, gae_lambda=0.95)
        >>> sorted(terms), metrics["imagined_return"].shape  # of the states but start and last
        (['actor', 'critic'], torch.Size([4, 4]))

    :param dream: N trajectories of H steps, at least 2, judged by the critic that learns the
        returns of their states 1..H-1, see :meth:`DreamerWorldModel.imagine`; whether their start
        was judged, too, makes no difference
    :param is_terminal: whether an episode had ended for good where a dream starts, (N,); nothing
        counts that is imagined after it
    :param gae_lambda: mixes one-step and long returns
    :return: ``actor`` and ``critic``; metrics
    """
    later = len(dream.actions)  # states 1..H, of which all but the last have returns
    reward, discount, value = (x[-later:] for x in (dream.reward, dream.discount, dream.value))
    prediction = dream.prediction[1 - later :]
    returns = inclusive_lambda_return(reward, discount, value, gae_lambda)
    weight = discount_weights(discount)[:-1] * (~is_terminal).float()
    error = unit_variance_loss(prediction, returns.detach())
    terms = {"actor": -(weight * returns).mean(), "critic": (weight * error).mean()}
    metrics = {"return": returns, "reward": reward, "value": value}
    named = {f"imagined_{name}": part.detach() for name, part in metrics.items()}
    return terms, named | {"weight": weight}
