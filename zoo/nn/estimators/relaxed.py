"""Continuous relatives of discrete samples (Jang et al. 2017; Maddison et al. 2017)."""

import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli
from dreamzoo.nn.estimators.estimator import Discrete


def gumbel_noise(like: Tensor, generator: th.Generator | None = None) -> Tensor:
    """
    Draw standard Gumbel noise, as torch's own ``gumbel_softmax``, which takes no generator.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.estimators import gumbel_noise
        >>> noise = gumbel_noise(torch.zeros(100_000), torch.Generator().manual_seed(0))
        >>> round(noise.mean().item(), 1)  # Euler's constant, 0.577
        0.6

    :param like: of the wanted shape, dtype and device
    :param generator: source of randomness
    """
    waiting = th.empty_like(like, requires_grad=False).exponential_(generator=generator)
    return -waiting.clamp_(min=th.finfo(like.dtype).tiny).log()


def relax(
    belief: Discrete, temperature: float | Tensor, generator: th.Generator | None = None
) -> Tensor:
    """
    Draw from the Gumbel-softmax distribution; its sigmoid form for bits.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> from dreamzoo.nn.estimators import relax
        >>> soft = relax(Categorical.from_logits(torch.zeros(4, 3, 2)), temperature=0.5)
        >>> soft.shape, soft.sum(-1)[0].round()
        (torch.Size([4, 3, 2]), tensor([1., 1., 1.]))

    :param belief: what is drawn from
    :param temperature: near 0 samples are almost hard, at infinity all the same; positive. A
        tensor is not checked: looking at it would wait for its device
    :param generator: source of randomness
    :return: between 0 and 1, with a gradient; the shape of the probabilities
    :raises ValueError: if the temperature is not positive
    """
    if not isinstance(temperature, Tensor) and not temperature > 0.0:
        raise ValueError(f"temperature={temperature}: the temperature of a sample is positive")
    if isinstance(belief, Bernoulli):
        # The difference of two Gumbels is logistic, the log-odds of a uniform number.
        logits = belief.logits
        uniform = th.rand(
            logits.shape, generator=generator, dtype=logits.dtype, device=logits.device
        )
        noise = uniform.logit(eps=th.finfo(logits.dtype).eps)
        return ((logits + noise) / temperature).sigmoid()
    logs = belief.logs
    return ((logs + gumbel_noise(logs, generator)) / temperature).softmax(-1)


def threshold(belief: Discrete, soft: Tensor) -> Tensor:
    """
    Round a relaxed sample to the discrete one that it stands for, with the gradient of the former.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> from dreamzoo.nn.estimators import threshold
        >>> threshold(Bernoulli(torch.zeros(2)), torch.tensor([0.4, 0.7]))
        tensor([0., 1.])

    :param belief: what was drawn from
    :param soft: what :func:`relax` drew
    """
    if isinstance(belief, Bernoulli):
        hard = (soft.detach() > 0.5).to(soft.dtype)
    else:
        largest = soft.detach().argmax(-1, keepdim=True)
        hard = th.zeros_like(soft).scatter_(-1, largest, 1.0)
    return hard + (soft - soft.detach())
