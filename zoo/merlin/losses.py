"""
The losses of MERLIN, each a function of what it is given and of nothing else.

Equations are those of Wayne et al., "Unsupervised predictive memory in a goal-directed agent"
(https://arxiv.org/abs/1803.10760). Every term is a mean over steps, summed over what it describes,
and is not weighted.
"""

from collections.abc import Sequence

import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.merlin.world_model import MerlinWorldModel
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.beliefs import Gaussian

#: Terms of the loss and metrics, by name.
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


def reconstruction_loss(
    model: MerlinWorldModel,
    z: Tensor,
    targets: dict[str, Tensor],
    prev_actions: Tensor,
    prev_rewards: Tensor,
    is_first: Tensor,
    is_terminal: Tensor,
    codec: ActionCodec,
) -> dict[str, Tensor]:
    """
    Compute how badly states reproduce what was seen: observation, action, reward (eq. 7).

    Example:
        >>> from dreamzoo import MERLIN
        >>> from dreamzoo.merlin import reconstruction_loss
        >>> agent = MERLIN("MlpPolicy", "CartPole-v1", **MERLIN.smallest, seed=0).learn(16)
        >>> path = agent.policy.unroll(agent.rollout_buffer.window(agent.device))
        >>> given = path.targets, path.prev_actions, path.prev_rewards
        >>> ends = path.is_first, path.is_terminal
        >>> codec = agent.policy.action_codec
        >>> terms = reconstruction_loss(agent.world_model, path.seen_z, *given, *ends, codec)
        >>> sorted(terms)
        ['action', 'cont', 'recon', 'reward']

    :param model: whose heads predict
    :param z: (N, Z)
    :param targets: network inputs, (N, ...) for every key
    :param prev_actions: encoded, (N, A)
    :param prev_rewards: (N,)
    :param is_first: bool, steps that no action and no reward came before, (N,)
    :param is_terminal: bool, observations with which an episode ended for good, (N,)
    :param codec: the action space
    :return: ``recon`` (of a Dict ``recon_<key>``), ``action``, ``reward`` and, which the paper does
        not have, ``cont``
    """
    predictions = model.decoder(z)
    terms = {
        f"recon_{name}" if model.codec.is_dict else "recon": loss.mean()
        for name, loss in model.decoder.loss(predictions, targets).items()
    }
    went_on = (~is_first).float()
    action = model.decoded_action(z)
    if codec.is_discrete:
        action_loss = _cross_entropy(action, prev_actions, codec.sizes)
    else:
        action_loss = 0.5 * (action - prev_actions).square().sum(-1)
    reward_loss = 0.5 * (model.reward(z) - prev_rewards).square()
    cont = model.cont(z)[:, 0]
    ends = F.binary_cross_entropy_with_logits(cont, (~is_terminal).float())
    return terms | {
        "action": (went_on * action_loss).mean(),
        "reward": (went_on * reward_loss).mean(),
        "cont": ends,
    }


def _cross_entropy(logits: Tensor, one_hots: Tensor, sizes: Sequence[int]) -> Tensor:
    """Compute the cross-entropy of several integers side by side, (N, sum(sizes)) to (N,)."""
    pairs = zip(logits.split(list(sizes), -1), one_hots.split(list(sizes), -1), strict=True)
    return th.stack([-(x.log_softmax(-1) * y).sum(-1) for x, y in pairs]).sum(0)


def kl_loss(post: Gaussian, prior: Gaussian) -> Tensor:
    """
    Compute KL(posterior || prior), summed over latents, a mean over steps (eq. 7).

    Example:
        >>> import torch
        >>> from dreamzoo.merlin import kl_loss
        >>> from dreamzoo.nn.beliefs import Gaussian
        >>> unit = Gaussian(torch.zeros(4, 3), torch.ones(4, 3))
        >>> kl_loss(Gaussian(unit.mean + 1.0, unit.std), unit)  # half a nat for each of three
        tensor(1.5000)

    :param post: with gradient, (N, Z)
    :param prior: the same
    """
    return post.kl(prior).mean()


def return_loss(value: Tensor, advantage: Tensor, returns: Tensor) -> dict[str, Tensor]:
    """
    Compute the loss of the predicted return, V and A (eq. 7).

    A learns what V leaves of the return; V does not learn from that.

    Example:
        >>> import torch
        >>> from dreamzoo.merlin import return_loss
        >>> return_loss(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([3.0]))
        {'value': tensor(2.), 'advantage': tensor(0.5000)}

    :param value: V of states, with gradient, (...)
    :param advantage: A of states and actions, with gradient, (...)
    :param returns: that followed, (...)
    """
    rest = returns - value.detach()
    return {
        "value": 0.5 * (value - returns).square().mean(),
        "advantage": 0.5 * (advantage - rest).square().mean(),
    }


def policy_loss(log_prob: Tensor, entropy: Tensor, advantages: Tensor) -> dict[str, Tensor]:
    """
    Compute the policy-gradient loss and the negative entropy (algorithm 1).

    Example:
        >>> import torch
        >>> from dreamzoo.merlin import policy_loss
        >>> policy_loss(torch.tensor([-1.0]), torch.tensor([0.5]), torch.tensor([2.0]))
        {'policy': tensor(2.), 'entropy': tensor(-0.5000)}

    :param log_prob: of the actions that were chosen, with gradient, (...)
    :param entropy: of the policy there, with gradient, (...)
    :param advantages: how much more than expected they earned, a constant, (...)
    """
    policy = -(advantages.detach() * log_prob).mean()
    return {"policy": policy, "entropy": -entropy.mean()}


def explained_variance(prediction: Tensor, truth: Tensor) -> Tensor:
    """
    Return which share of a variance is predicted: 1 is perfect, 0 no better than the mean.

    Example:
        >>> import torch
        >>> from dreamzoo.merlin.losses import explained_variance
        >>> explained_variance(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 4.0]))
        tensor(0.7500)

    :param prediction: any shape
    :param truth: the same
    :return: scalar; 0 where nothing varies
    """
    variance = truth.var(unbiased=False)
    share = 1.0 - (truth - prediction).var(unbiased=False) / variance
    return th.where(variance > 0.0, share, 0.0)
