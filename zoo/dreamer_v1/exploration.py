"""How Dreamer V1 departs from its policy while it collects, as functions of actions."""

from collections.abc import Sequence

import torch as th
from torch import Tensor

from dreamzoo.nn.distributions import one_hot


def noisy(action: Tensor, std: float, generator: th.Generator | None = None) -> Tensor:
    """
    Add normal noise to actions in [-1, 1] and clip them to that range (Dreamer, appendix A).

    :param action: numbers, (N, A)
    :param std: standard deviation of the noise (0.3)
    :param generator: source of randomness
    """
    noise = th.randn(action.shape, generator=generator, device=action.device)
    return (action + std * noise).clamp(-1.0, 1.0)


def epsilon_greedy(
    action: Tensor, sizes: Sequence[int], epsilon: float, generator: th.Generator | None = None
) -> Tensor:
    """
    Replace some of the actions by uniform ones (Dreamer, appendix A, for discrete actions).

    As many random numbers are drawn whatever is replaced, so that runs stay comparable.

    :param action: one-hot vectors side by side, (N, sum(sizes))
    :param sizes: classes of every action dimension; all of an action are replaced together
    :param epsilon: probability of that
    :param generator: source of randomness
    """
    draws = th.rand(len(action), 1 + len(sizes), generator=generator, device=action.device)
    chosen = [
        one_hot((draw * size).long().clamp(max=size - 1), size)
        for draw, size in zip(draws[:, 1:].unbind(1), sizes, strict=True)
    ]
    return th.where(draws[:, :1] < epsilon, th.cat(chosen, dim=1), action)


def epsilon_after(n_updates: int, initial: float, final: float, over: int) -> float:
    """
    Return how often actions are random after so many updates: it changes linearly.

    :param n_updates: gradient steps so far
    :param initial: at first (Dreamer, appendix A: 0.4)
    :param final: in the end (0.1)
    :param over: gradient steps between both (200,000)
    """
    return initial + (final - initial) * min(n_updates / over, 1.0)
