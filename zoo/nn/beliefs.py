"""What models believe about the stochastic part of a state: normals, categoricals, or bits."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.ranks import mean_of_all
from dreamzoo.nn.fast.switch import is_traced


class Gaussian(NamedTuple):
    """
    Diagonal normal distribution (PlaNet, Dreamer V1).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Gaussian
        >>> unit = Gaussian(torch.zeros(4, 3), torch.ones(4, 3))
        >>> moved = Gaussian(torch.ones(4, 3), torch.ones(4, 3))
        >>> moved.kl(unit)  # half a nat for each of three latents
        tensor([1.5000, 1.5000, 1.5000, 1.5000])
        >>> unit.sample().shape
        torch.Size([4, 3])

    :param mean: (..., S)
    :param std: (..., S)
    """

    mean: Tensor
    std: Tensor

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw with a gradient to mean and std, (..., S)."""
        noise = th.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        """Return the most likely value, with its gradient, (..., S)."""
        return self.mean

    def kl(self, other: "Gaussian") -> Tensor:
        """Compute KL(self || other), summed over latents: nats, (...)."""
        mine, its = self.distribution(), other.distribution()
        return th.distributions.kl_divergence(mine, its).sum(-1)

    def entropy(self) -> Tensor:
        """Sum of the latents' entropies, nats, (...)."""
        return self.distribution().entropy().sum(-1)

    def detach(self) -> "Gaussian":
        """Cut the autograd graph."""
        return Gaussian(self.mean.detach(), self.std.detach())

    def distribution(self) -> th.distributions.Normal:
        """As torch's distribution; checking its numbers would wait for the device."""
        return th.distributions.Normal(*self, validate_args=False)


class Categorical(NamedTuple):
    """
    Independent categoricals over one-hot vectors (Dreamer V2 and V3).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Categorical
        >>> belief = Categorical.from_logits(torch.zeros(4, 3, 2))
        >>> belief.entropy()  # log 2 for each of three latents
        tensor([2.0794, 2.0794, 2.0794, 2.0794])
        >>> belief.sample().sum(-1)[0]  # one-hot
        tensor([1., 1., 1.])

    :param probs: (..., S, C); positive, where their logarithms are not given
    :param log_probs: the same as logarithms; None takes those of ``probs``
    """

    probs: Tensor
    log_probs: Tensor | None = None

    @classmethod
    def from_logits(cls, logits: Tensor) -> "Categorical":
        """
        Normalize logits (..., S, C), which nothing is mixed with.

        Divergences stay finite, with a true gradient, even where a probability rounds to zero.
        """
        log_probs = logits.log_softmax(-1)
        return cls(log_probs.exp(), log_probs)

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """
        Draw one-hot vectors: one random number a latent.

        :return: (..., S, C); their gradient is that of the probabilities (straight through)
        """
        lead, device = self.probs.shape[:-1], self.probs.device
        return self.from_noise(th.rand(lead, generator=generator, device=device))

    def from_noise(self, draws: Tensor) -> Tensor:
        """Turn uniform random numbers (..., S) into what :meth:`sample` returns."""
        return self._straight_through(kernels.one_hot_sample(self.probs.detach(), draws))

    def mode(self) -> Tensor:
        """Take the most likely classes, (..., S, C), with the gradient of a sample."""
        return self._straight_through(kernels.one_hot_sample(self.probs.detach(), None))

    def _straight_through(self, one_hot: Tensor) -> Tensor:
        return one_hot + (self.probs - self.probs.detach())

    def kl(self, other: "Categorical") -> Tensor:
        """Compute KL(self || other), summed over latents: nats, (...)."""
        return (self.probs * (self.logs - other.logs)).sum((-2, -1))

    def entropy(self) -> Tensor:
        """Sum of the latents' entropies, nats, (...)."""
        return -(self.probs * self.logs).sum((-2, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        """Score one-hot vectors (..., S, C): nats of every latent, (..., S)."""
        return (value * self.logs).sum(-1)

    @property
    def logs(self) -> Tensor:
        """Logarithms of the probabilities, (..., S, C)."""
        return self.probs.log() if self.log_probs is None else self.log_probs

    def detach(self) -> "Categorical":
        """Cut the autograd graph."""
        logs = None if self.log_probs is None else self.log_probs.detach()
        return Categorical(self.probs.detach(), logs)


class Bernoulli(NamedTuple):
    """
    Independent bits (sigmoid belief networks).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Bernoulli
        >>> belief = Bernoulli(torch.zeros(4, 3))
        >>> belief.entropy()  # log 2 for each of three bits
        tensor([2.0794, 2.0794, 2.0794, 2.0794])
        >>> belief.log_prob(torch.ones(4, 3))[0]
        tensor([-0.6931, -0.6931, -0.6931])

    :param logits: log-odds of a one, (..., S)
    """

    logits: Tensor

    @property
    def probs(self) -> Tensor:
        """Probability of a one, (..., S)."""
        return self.logits.sigmoid()

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw zeros and ones, (..., S); their gradient is that of the probabilities."""
        probs = self.probs
        # torch.bernoulli would stop the process on a GPU where a probability is not a number.
        draws = th.rand(probs.shape, generator=generator, device=probs.device)
        return (draws < probs).to(probs.dtype) + (probs - probs.detach())

    def mode(self) -> Tensor:
        """Take the more likely values, (..., S), with the gradient of a sample."""
        probs = self.probs
        return (self.logits > 0).to(probs.dtype) + (probs - probs.detach())

    def kl(self, other: "Bernoulli") -> Tensor:
        """Compute KL(self || other), summed over bits: nats, (...)."""
        probs = self.probs
        return (other.log_prob(probs) - self.log_prob(probs)).neg().sum(-1)

    def entropy(self) -> Tensor:
        """Sum of the bits' entropies, nats, (...)."""
        return -self.log_prob(self.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score values from 0 to 1: nats of every bit, (..., S)."""
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def detach(self) -> "Bernoulli":
        """Cut the autograd graph."""
        return Bernoulli(self.logits.detach())


D = TypeVar("D", Gaussian, Categorical)


class Belief(Generic[D]):
    """
    What filtering drew states from, and what the model had expected before it saw.

    It unpacks to the two, the posterior first. The expectation is computed when it is first asked
    for, since acting never asks for it.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Belief, Gaussian
        >>> unit = Gaussian(torch.zeros(2, 5, 3), torch.ones(2, 5, 3))
        >>> post, prior = Belief(unit, lambda: Gaussian(unit.mean + 1.0, unit.std))
        >>> post.kl(prior)[0, 0]
        tensor(1.5000)

    :param post: believed after the observations, (B, T, ...)
    :param expect: computes what was believed before them, in the same form
    """

    post: D

    def __init__(self, post: D, expect: Callable[[], D]) -> None:
        self.post = post
        self._expect: Callable[[], D] = expect

    @cached_property
    def prior(self) -> D:
        """What was expected before the observations, (B, T, ...)."""
        return self._expect()

    def __iter__(self) -> Iterator[D]:
        yield self.post
        yield self.prior


class Divergences(NamedTuple):
    """
    How far apart two distributions are, and how unsure they are, in nats, (B, T) each.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Gaussian, divergences
        >>> unit = Gaussian(torch.zeros(2, 5, 3), torch.ones(2, 5, 3))
        >>> divergences(unit, unit)._fields
        ('dyn', 'rep', 'prior_ent', 'post_ent')

    :param dyn: KL(post || prior) with the prior's gradient alone
    :param rep: the same number with the posterior's gradient alone
    :param prior_ent: entropy of the prior
    :param post_ent: entropy of the posterior
    """

    dyn: Tensor
    rep: Tensor
    prior_ent: Tensor
    post_ent: Tensor


def free_mean(nats: Tensor, free_nats: float) -> Tensor:
    """
    Average divergences, and count as many nats at least; a smaller mean has no gradient.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import free_mean
        >>> free_mean(torch.tensor([1.0, 4.0]), 2.0), free_mean(torch.tensor([1.0, 4.0]), 3.0)
        (tensor(2.5000), tensor(3.))

    :param nats: of steps, (...)
    :param free_nats: at least 0
    """
    return mean_of_all(nats.mean()).clamp(min=free_nats)


def divergences(post: D, prior: D) -> Divergences:
    """
    Compare what a model believes after and before an observation.

    KL balancing (DreamerV2, eq. 2; DreamerV3, eq. 3) weighs ``dyn`` and ``rep`` differently.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.beliefs import Gaussian, divergences
        >>> mean = torch.zeros(2, 5, 3, requires_grad=True)
        >>> post, prior = Gaussian(mean, mean + 1.0), Gaussian(mean + 1.0, mean + 1.0)
        >>> result = divergences(post, prior)
        >>> bool((result.dyn == result.rep).all())  # they differ in their gradient alone
        True

    :param post: with gradient, (B, T, ...)
    :param prior: the same
    """
    fused = isinstance(post, Categorical) and post.log_probs is None
    if fused and kernels.uses_triton(post[0]) and not is_traced():
        from dreamzoo.nn.fast.triton import actions

        flat = actions.Divergences.apply(*(belief[0].flatten(0, 1) for belief in (post, prior)))
        return Divergences(*(x.view(post[0].shape[:2]) for x in flat))
    dyn, rep = post.detach().kl(prior), post.kl(prior.detach())
    return Divergences(dyn, rep, prior.entropy(), post.entropy())
