"""
Action distributions of the first two Dreamers, with gradients through what they draw.

Actions are what the dynamics read: numbers in [-1, 1], one-hot vectors side by side.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.distributions import at_least_float32, invert_cumulative, one_hot
from dreamzoo.nn.fast.constants import constant

_LOG_2PI = math.log(2.0 * math.pi)
#: Draws among which the tanh-normal's mode is searched, and over which its entropy is averaged.
_DRAWS = 100


@cache
def _fixed_noise(dim: int) -> np.ndarray:
    """Return unit normal numbers, (draws, dim), the same in every process."""
    return np.random.default_rng(0).standard_normal((_DRAWS, dim)).astype(np.float32)


class TanhNormalActions:
    """
    Normal distribution squashed by tanh (Dreamer, appendix A; code of danijar/dreamer).

    ``a = tanh(N(mean, std))``, mean = 5 tanh(raw / 5), std = softplus(raw + log(e^5 - 1)) + 1e-4:
    it begins at 5, where most actions lie at the bounds. Mode and entropy have no closed form; both
    come from 100 draws, always with the same noise, so that equal states have equal actions.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.action_distributions import TanhNormalActions
        >>> actions = TanhNormalActions(torch.zeros(4, 2), torch.zeros(4, 2))
        >>> actions.std[0]  # before the tanh
        tensor([5.0001, 5.0001])
        >>> drawn = actions.sample()
        >>> drawn.shape, bool((drawn.abs() <= 1.0).all())
        (torch.Size([4, 2]), True)

    :param raw_mean: (..., A)
    :param raw_std: (..., A)
    """

    MEAN_SCALE = 5.0
    INIT_STD = 5.0
    MIN_STD = 1e-4
    #: Actions are read as at most this far from zero: atanh(1) is infinite.
    LIMIT = 0.99999997

    def __init__(self, raw_mean: Tensor, raw_std: Tensor) -> None:
        self.raw_mean, self.raw_std = at_least_float32(raw_mean), at_least_float32(raw_std)

    @property
    def mean(self) -> Tensor:
        """Mean before the tanh, (..., A)."""
        return self.MEAN_SCALE * th.tanh(self.raw_mean / self.MEAN_SCALE)

    @property
    def std(self) -> Tensor:
        """Standard deviation before the tanh, (..., A)."""
        shift = math.log(math.expm1(self.INIT_STD))
        return F.softplus(self.raw_std + shift) + self.MIN_STD

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw actions, (..., A), with the gradient of mean and std."""
        return self.from_noise(self.draw(self.raw_mean.shape, generator, self.raw_mean.device))

    @staticmethod
    def draw(shape: Sequence[int], generator: th.Generator | None, device: th.device) -> Tensor:
        """Draw what :meth:`from_noise` takes: unit normal numbers."""
        return th.randn(*shape, generator=generator, device=device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Turn the noise of :meth:`draw` into actions, (..., A) to (..., A)."""
        return th.tanh(self.mean + self.std * noise)

    def _candidates(self) -> tuple[Tensor, Tensor]:
        """Draw 100 actions for every row; return these before the tanh and their log-density."""
        noise = constant(_fixed_noise(self.raw_mean.shape[-1]), self.raw_mean.device)
        noise = noise.view(_DRAWS, *[1] * (self.raw_mean.ndim - 1), -1)
        raw = self.mean + self.std * noise
        return raw, self._log_density(raw)

    def _log_density(self, raw: Tensor) -> Tensor:
        """Compute the log-density of ``tanh(raw)``, (..., A) to (...)."""
        scaled = (raw - self.mean) / self.std
        normal = -0.5 * scaled.square() - self.std.log() - 0.5 * _LOG_2PI
        # log(1 - tanh(x)^2), without the difference of two numbers close to 1.
        slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
        return (normal - slope).sum(-1)

    def mode(self) -> Tensor:
        """Return the likeliest of 100 draws, (..., A)."""
        raw, density = self._candidates()
        best = density.argmax(0)[None, ..., None].expand(1, *raw.shape[1:])
        return th.tanh(raw.gather(0, best)[0])

    def log_prob(self, action: Tensor) -> Tensor:
        """Compute the log-density of actions, (..., A) to (...)."""
        return self._log_density(th.atanh(action.clamp(-self.LIMIT, self.LIMIT)))

    def entropy(self) -> Tensor:
        """Estimate the entropy from 100 draws, nats, (...)."""
        return -self._candidates()[1].mean(0)


class TruncatedNormalActions:
    """
    Normal distribution cut off at -1 and 1 (DreamerV2, section 2; ``trunc_normal`` of its code).

    mean = tanh(raw), std = 2 sigmoid(raw / 2) + 0.1, both of the distribution before it is cut off.
    Draws invert its cumulative distribution and lie 1e-6 inside of the bounds, with the gradient
    that they have without that last step.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.action_distributions import TruncatedNormalActions
        >>> actions = TruncatedNormalActions(torch.zeros(4, 2), torch.zeros(4, 2))
        >>> actions.mode()[0], actions.std[0]
        (tensor([0., 0.]), tensor([1.1000, 1.1000]))
        >>> bool((actions.sample().abs() < 1.0).all())
        True

    :param raw_mean: (..., A)
    :param raw_std: (..., A)
    """

    MIN_STD = 0.1
    MAX_STD = 2.1
    MARGIN = 1e-6

    def __init__(self, raw_mean: Tensor, raw_std: Tensor) -> None:
        self.raw_mean, self.raw_std = at_least_float32(raw_mean), at_least_float32(raw_std)

    @property
    def mean(self) -> Tensor:
        """Mean before the cut, which is also the mode, (..., A)."""
        return th.tanh(self.raw_mean)

    @property
    def std(self) -> Tensor:
        """Standard deviation before the cut, (..., A)."""
        return (self.MAX_STD - self.MIN_STD) * th.sigmoid(0.5 * self.raw_std) + self.MIN_STD

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw actions, (..., A), with the gradient of mean and std."""
        return self.from_noise(self.draw(self.raw_mean.shape, generator, self.raw_mean.device))

    @staticmethod
    def draw(shape: Sequence[int], generator: th.Generator | None, device: th.device) -> Tensor:
        """Draw what :meth:`from_noise` takes: uniform numbers."""
        return th.rand(*shape, generator=generator, device=device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Turn the noise of :meth:`draw` into actions, (..., A) to (..., A)."""
        mean, std = self.mean, self.std
        below, inside = self._masses(mean, std)
        # A number so close to 0 or 1 has no finite normal number, and an infinity has no gradient.
        smallest = th.finfo(mean.dtype).eps
        quantile = (below + noise * inside).clamp(smallest, 1.0 - smallest)
        action = mean + std * th.special.ndtri(quantile)
        limit = 1.0 - self.MARGIN
        return action + (action.clamp(-limit, limit) - action).detach()

    @staticmethod
    def _masses(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much of the normal distribution lies below -1 and between -1 and 1."""
        below, above = th.special.ndtr((-1.0 - mean) / std), th.special.ndtr((1.0 - mean) / std)
        return below, above - below

    def mode(self) -> Tensor:
        """Return the likeliest actions, (..., A)."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """Compute the log-density of actions in [-1, 1], (..., A) to (...)."""
        mean, std = self.mean, self.std
        scaled = (action - mean) / std
        normal = -0.5 * scaled.square() - std.log() - 0.5 * _LOG_2PI
        return (normal - self._masses(mean, std)[1].log()).sum(-1)

    def entropy(self) -> Tensor:
        """Compute the entropy, nats, (...)."""
        mean, std = self.mean, self.std
        _, inside = self._masses(mean, std)
        low, high = (-1.0 - mean) / std, (1.0 - mean) / std
        edges = low * _normal_density(low) - high * _normal_density(high)
        whole = std.log() + inside.log() + 0.5 * (1.0 + _LOG_2PI)
        return (whole + 0.5 * edges / inside).sum(-1)


def _normal_density(x: Tensor) -> Tensor:
    return th.exp(-0.5 * (x.square() + _LOG_2PI))


class OneHotActions:
    """
    Independent categoricals whose one-hot draws have the gradient of their probabilities.

    Straight-through gradients (DreamerV2, algorithm 1; Dreamer, appendix A for discrete actions).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.action_distributions import OneHotActions
        >>> actions = OneHotActions(torch.zeros(4, 5), sizes=[2, 3])
        >>> drawn = actions.sample()
        >>> drawn.shape, drawn[0].sum()
        (torch.Size([4, 5]), tensor(2.))

    :param logits: of all action dimensions side by side, (..., sum(sizes))
    :param sizes: classes of every dimension
    """

    def __init__(self, logits: Tensor, sizes: Sequence[int]) -> None:
        self.logits, self.sizes = at_least_float32(logits), list(sizes)

    def _log_probs(self) -> list[Tensor]:
        return [part.log_softmax(-1) for part in self.logits.split(self.sizes, dim=-1)]

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        """Draw one-hot vectors, (..., sum(sizes)), whose gradient goes straight through."""
        shape = (*self.logits.shape[:-1], len(self.sizes))
        return self.from_noise(self.draw(shape, generator, self.logits.device))

    @staticmethod
    def draw(shape: Sequence[int], generator: th.Generator | None, device: th.device) -> Tensor:
        """Draw what :meth:`from_noise` takes: one uniform number for every action dimension."""
        return th.rand(*shape, generator=generator, device=device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Turn the noise of :meth:`draw` into actions, (..., dims) to (..., sum(sizes))."""
        drawn = []
        for logs, draw in zip(self._log_probs(), noise.unbind(-1), strict=True):
            probs = logs.exp()
            index = invert_cumulative(probs.detach(), draw)
            drawn.append(one_hot(index, probs.shape[-1]) + (probs - probs.detach()))
        return th.cat(drawn, dim=-1)

    def mode(self) -> Tensor:
        """Return the likeliest actions as one-hot vectors, (..., sum(sizes))."""
        parts = [one_hot(x.argmax(-1), x.shape[-1]).to(x) for x in self._log_probs()]
        return th.cat(parts, dim=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """
        Compute the log-probability of one-hot actions, (..., sum(sizes)) to (...).

        A drawn action carries the gradient of its probabilities, which is no part of this one: it
        would be added to the score and bias it.
        """
        return (action.detach() * th.cat(self._log_probs(), dim=-1)).sum(-1)

    def entropy(self) -> Tensor:
        """Compute the entropy, nats, summed over dimensions, (...)."""
        parts = [-(logs.exp() * logs).sum(-1) for logs in self._log_probs()]
        return th.stack(parts).sum(0)
