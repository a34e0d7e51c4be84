"""
The equations of soft actor-critic for discrete actions.

An action of D parts, one of a Discrete space or several of a MultiDiscrete, is a row of one-hot
vectors side by side, A numbers in all; its distribution is a list of D independent
:class:`~dreamzoo.nn.beliefs.Categorical`, (B, 1, C) each. There are J actions, the product of all
C. Critics are functions of a state and of such a row.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical
from dreamzoo.nn.estimators import Draw, Estimate, Estimator, draw_hard

#: The distribution of an action.
Beliefs = Sequence[Categorical]
#: Values of actions in the states of a batch: (B, A) to (B,), or (B, J, A) to (B, J).
Values = Callable[[Tensor], Tensor]


# ------------------------------------------------------------------ distributions


def side_by_side(draw: Draw, beliefs: Beliefs) -> Tensor:
    """Draw every part of an action, (B, A)."""
    return th.cat([draw(belief).flatten(-2) for belief in beliefs], dim=-1)


def one_hot_samples(beliefs: Beliefs, generator: th.Generator | None = None) -> Tensor:
    """Draw actions, without a gradient, (B, A)."""
    return side_by_side(lambda belief: draw_hard(belief, generator), beliefs)


def one_hot_modes(beliefs: Beliefs) -> Tensor:
    """Return the most likely actions, (B, A)."""
    return side_by_side(lambda belief: belief.detach().mode(), beliefs)


def mean_action(beliefs: Beliefs) -> Tensor:
    """Return the probabilities of all choices, side by side, without a gradient, (B, A)."""
    return side_by_side(lambda belief: belief.probs.detach(), beliefs)


def entropy(beliefs: Beliefs) -> Tensor:
    """Return the exact entropy of actions, nats, (B,)."""
    return th.stack([belief.entropy() for belief in beliefs]).sum(0)


def all_actions(sizes: Sequence[int]) -> Tensor:
    """Return every action there is as one-hot vectors, (J, A), the last part changing fastest."""
    choices = [th.eye(size) for size in sizes]
    return th.stack([th.cat(parts) for parts in product(*choices)])


def expectation(values: Values, beliefs: Beliefs, actions: Tensor) -> Tensor:
    """
    Sum over all actions: their probabilities times their values.

    :param values: of the actions (B, J, A) in the states of the batch, (B, J)
    :param beliefs: of the actions, (B, 1, C) each
    :param actions: all there are, (J, A)
    :return: with a gradient to the probabilities and none to the values, (B,)
    """
    logs = th.cat([belief.logs.flatten(-2) for belief in beliefs], dim=-1)  # (B, A)
    probs = (logs @ actions.to(logs).T).exp()  # (B, J): parts are independent
    with th.no_grad():
        each = values(actions.to(logs).expand(len(logs), *actions.shape))
    return (probs * each).sum(-1)


# ------------------------------------------------------------------ soft actor-critic


def target_entropy(sizes: Sequence[int], scale: float) -> float:
    """
    Return the entropy that the policy is held at, in nats: a share of the largest there is.

    SB3's own ``target_entropy="auto"`` is minus the number of action dimensions, which is made for
    densities. Of categoricals, whose entropy is never negative, it asks nothing: the weight of the
    entropy falls to zero, and with it exploration.

    Example:
        >>> from dreamzoo.discrete_sac import target_entropy
        >>> round(target_entropy([4], scale=0.5), 3)  # half of log 4
        0.693
        >>> target_entropy([2, 2], scale=0.5) == target_entropy([4], scale=0.5)
        True

    :param sizes: choices of every part of an action
    :param scale: between 0 and 1; 0.98 in SAC-Discrete (Christodoulou 2019), which keeps the policy
        almost uniform where there are few actions
    """
    return scale * sum(math.log(size) for size in sizes)


def soft_value(values: Tensor, entropies: Tensor, ent_coef: Tensor | float) -> Tensor:
    """
    Return what states are worth to an agent that is also rewarded for its entropy.

    V(s) = E[Q(s, a)] + alpha H(pi(. | s)). The entropy is the exact one; SAC's estimate of it from
    one action, -log pi(a | s), has the same mean and more variance.

    Example:
        >>> import torch
        >>> from dreamzoo.discrete_sac import soft_value
        >>> soft_value(torch.tensor([3.0]), torch.tensor([0.5]), ent_coef=0.2)
        tensor([3.1000])

    :param values: of an action that the policy drew, or their expectation, (B,)
    :param entropies: of the policy, nats, (B,)
    :param ent_coef: alpha
    :return: (B,)
    """
    return values + ent_coef * entropies


def actor_loss(
    values: Values,
    beliefs: Beliefs,
    estimator: Estimator,
    ent_coef: Tensor | float,
    generator: th.Generator | None = None,
    baseline: Tensor | None = None,
) -> Estimate:
    """
    Estimate -(E[Q(s, a)] + alpha H(pi(. | s))) and its gradient from one action.

    Example:
        >>> import torch
        >>> from dreamzoo.discrete_sac import actor_loss
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> from dreamzoo.nn.estimators import StraightThrough
        >>> logits = torch.zeros(8, 1, 2, requires_grad=True)
        >>> worth = torch.tensor([1.0, 0.0])  # the first of two actions is better
        >>> beliefs = [Categorical.from_logits(logits)]
        >>> loss = actor_loss(lambda a: a @ worth, beliefs, StraightThrough(), ent_coef=0.1)
        >>> loss.surrogate.mean().backward()
        >>> bool((logits.grad[..., 0] < 0.0).all())  # descent makes it more likely
        True

    :param values: of actions in the states of the batch
    :param beliefs: of the actions, (B, 1, C) each
    :param estimator: sends the gradient through the drawn action
    :param ent_coef: alpha
    :param generator: source of randomness
    :param baseline: what the values are compared with, without a gradient, (B,); None: zero
    :return: (B,) each
    """
    known = 0.0 if baseline is None else baseline
    estimate = estimator(lambda draw: known - values(side_by_side(draw, beliefs)), generator)
    bonus = ent_coef * entropy(beliefs)
    return Estimate(estimate.loss - known - bonus.detach(), estimate.surrogate - bonus)
