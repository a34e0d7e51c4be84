"""Distributions of predictions and actions: symexp two-hot, mixed categoricals, bounded normal."""

import functools
from collections.abc import Sequence
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.pieces import by_rows, cached_pieces
from dreamzoo.nn.fast.switch import computes_plainly, is_traced, needs_graph
from dreamzoo.nn.fast.threads import map_pieces


def symlog(x: Tensor) -> Tensor:
    """
    Compress magnitudes, ``sign(x) log(1 + |x|)`` (DreamerV3, eq. 9).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import symlog
        >>> symlog(torch.tensor([-1000.0, 0.0, 1.0, 1000.0]))
        tensor([-6.9088,  0.0000,  0.6931,  6.9088])
    """
    return th.sign(x) * th.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """
    Invert :func:`symlog`, ``sign(x) (exp|x| - 1)`` (DreamerV3, eq. 9).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import symexp, symlog
        >>> symexp(symlog(torch.tensor([-3.0, 0.5]))).round(decimals=4)
        tensor([-3.0000,  0.5000])
    """
    return th.sign(x) * th.expm1(x.abs())


def at_least_float32(x: Tensor) -> Tensor:
    """
    Widen half precision; float64 stays what it is.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import at_least_float32
        >>> at_least_float32(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x if x.dtype == th.float64 else x.float()


class SymexpTwoHot(nn.Module):
    """
    A real number as a categorical over exponentially spaced bins (DreamerV3, eq. 10-11).

    Targets are interpolated and predictions read out in *raw* space; nothing is symlogged.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import SymexpTwoHot
        >>> two_hot = SymexpTwoHot(bins=5)
        >>> two_hot.bins.int().tolist()
        [-485165184, -22025, 0, 22025, 485165184]
        >>> logits = torch.zeros(1, 5)
        >>> two_hot.mean(logits)
        tensor([0.])
        >>> two_hot.loss(logits, torch.tensor([1.0]))  # log 5: all bins are as likely
        tensor([1.6094])

    :param bins: number of bins, odd, so that one of them is exactly zero
    """

    bins: Tensor
    outer: Tensor

    def __init__(self, bins: int = 255) -> None:
        super().__init__()
        if bins < 3 or bins % 2 == 0:
            raise ValueError(f"bins={bins}: the number of two-hot bins must be odd and at least 3")
        half = symexp(th.linspace(-20, 0, bins // 2 + 1, dtype=th.float64))
        values = th.cat([half, -half[:-1].flip(0)]).float()
        # Constants, not state: every persistent entry must be a trained or averaged number.
        self.register_buffer("bins", values, persistent=False)
        self.register_buffer("outer", values[bins // 2 + 1 :].clone(), persistent=False)

    def mean(self, logits: Tensor) -> Tensor:
        """
        Read out the expectation, exactly zero for uniform logits; with gradient where enabled.

        :param logits: (..., bins)
        :return: (...)
        """
        rows = at_least_float32(logits).flatten(0, -2).contiguous()
        return by_rows(lambda piece: kernels.two_hot_mean(piece, self.outer), rows).view(
            logits.shape[:-1]
        )

    def sample(self, logits: Tensor, generator: th.Generator | None = None) -> Tensor:
        """Draw one of the bins, (..., bins) to (...); a draw has no gradient."""
        return self.bins[categorical_sample(logits.float().softmax(-1), generator)]

    def encode(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Find the neighboring bins of a value and the weight of the upper one.

        :param target: values in raw space, (...)
        :return: index below, index above, weight above; values out of range fall on the edge bin
        """
        last = len(self.bins) - 1
        target = target.float().contiguous()
        below = (th.searchsorted(self.bins, target, right=True) - 1).clamp(0, last)
        above = (below + 1).clamp(max=last)
        low, high = self.bins[below], self.bins[above]
        width = high - low
        weight = ((target - low) / width.clamp(min=1e-8)).clamp(0, 1)
        weight = th.where(width > 0, weight, th.zeros_like(weight))
        return below, above, th.where(target.isnan(), target, weight)  # NaN must not look like 5e8

    def loss(
        self, logits: Tensor, *targets: Tensor, weights: Sequence[float] | None = None
    ) -> Tensor:
        """
        Cross-entropy of the two-hot targets, summed over the targets given.

        :param logits: (..., bins)
        :param targets: values in raw space, (...) each; no gradient flows into them
        :param weights: of the targets; default: one each
        :return: (...)
        """
        rows = logits.float().flatten(0, -2)
        scale = tuple(weights or [1.0] * len(targets))
        if kernels.uses_triton(rows) and len(targets) <= 2 and not is_traced():
            from dreamzoo.nn.fast.triton.losses import TwoHotLoss

            flat = [target.flatten() for target in targets]
            return TwoHotLoss.apply(rows, self.bins, flat, scale).view(logits.shape[:-1])
        encoded = [self.encode(target.detach().flatten()) for target in targets]
        below, above, upper = (th.stack(parts, dim=-1) for parts in zip(*encoded, strict=True))
        cross_entropy = _two_hot_loss if computes_plainly() else _TwoHotCrossEntropy.apply
        return cross_entropy(rows, below, above, upper, scale).view(logits.shape[:-1])


def _two_hot_loss(
    logits: Tensor, below: Tensor, above: Tensor, upper: Tensor, scale: Sequence[float]
) -> Tensor:
    """
    Cross-entropy of rows of logits with several two-hot targets, summed over targets.

    :param logits: (N, bins)
    :param below: index of the bin below each of K targets, (N, K)
    :param above: index of the bin above, (N, K)
    :param upper: weight of the bin above, (N, K)
    :param scale: weights of the targets, K
    :return: (N,)
    """
    log_probs = F.log_softmax(logits, dim=-1)
    picked = th.lerp(log_probs.gather(-1, below), log_probs.gather(-1, above), upper)
    return -(picked * picked.new_tensor(scale)).sum(-1)


class _TwoHotCrossEntropy(th.autograd.Function):
    """
    What ``_two_hot_loss`` computes, with its gradient written by hand.

    The gradient is ``sum(weights) * softmax - weighted two-hots``. Autograd's own would fill one
    zero matrix for each of the four gathers of two targets.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        below: Tensor,
        above: Tensor,
        upper: Tensor,
        scale: tuple[float, ...],
    ) -> Tensor:
        logits = logits.contiguous()
        normalizer = by_rows(kernels.log_normalizer, logits)
        ctx.save_for_backward(logits, normalizer, below, above, upper)
        ctx.scale = scale
        picked = th.lerp(logits.gather(-1, below), logits.gather(-1, above), upper)
        weighted = [x * weight for x, weight in zip(picked.unbind(-1), scale, strict=True)]
        return sum(scale) * normalizer - functools.reduce(th.add, weighted)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, normalizer, below, above, upper = ctx.saved_tensors
        out = th.empty_like(logits)
        total = sum(ctx.scale) * grad
        split = (cached_pieces(x) for x in (logits, normalizer, total, out))
        pieces = list(zip(*split, strict=True))
        map_pieces(lambda piece: kernels.scaled_softmax(*piece), pieces, logits.device)
        each = th.stack([grad * weight for weight in ctx.scale], dim=-1)
        # One target after the other: two additions to one number have no order on a GPU.
        for index, share in ((below, (upper - 1) * each), (above, -upper * each)):
            for column, value in zip(index.split(1, -1), share.split(1, -1), strict=True):
                out.scatter_add_(-1, column, value)
        return out, None, None, None, None


def mix_uniform(logits: Tensor, unimix: float) -> Tensor:
    """
    Mix a categorical with the uniform one, (1 - unimix) softmax + unimix / classes.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import mix_uniform
        >>> mix_uniform(torch.tensor([[100.0, 0.0]]), unimix=0.1)
        tensor([[0.9500, 0.0500]])

    :param logits: raw logits, (..., classes)
    :param unimix: share of the uniform distribution
    :return: probabilities, (..., classes), at least float32
    """
    # Over a last axis of a few classes torch's softmax is not vectorized (ten times slower).
    probs = at_least_float32(logits).transpose(-1, -2).softmax(-2).transpose(-1, -2)
    return probs if unimix == 0.0 else (1 - unimix) * probs + unimix / logits.shape[-1]


def categorical_sample(probs: Tensor, generator: th.Generator | None = None) -> Tensor:
    """
    Draw class indices by inverting the cumulative distribution: one random number a draw.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import categorical_sample
        >>> categorical_sample(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([1, 0])

    :param probs: (..., classes)
    :param generator: source of randomness; None is torch's global one
    :return: indices, (...)
    """
    return invert_cumulative(
        probs, th.rand(probs.shape[:-1], generator=generator, device=probs.device)
    )


def invert_cumulative(probs: Tensor, draws: Tensor) -> Tensor:
    """
    Turn uniform random numbers into class indices.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import invert_cumulative
        >>> probs = torch.tensor([0.2, 0.5, 0.3]).expand(3, 3)
        >>> invert_cumulative(probs, torch.tensor([0.1, 0.6, 0.8]))
        tensor([0, 1, 2])

    :param probs: (..., classes)
    :param draws: from 0 to 1, (...)
    :return: indices, (...)
    """
    index = (probs.cumsum(-1) <= draws[..., None]).sum(-1)
    return index.clamp(max=probs.shape[-1] - 1)  # the sum may round to slightly below one


def one_hot(index: Tensor, classes: int) -> Tensor:
    """
    Encode indices (...) as float one-hot vectors (..., classes).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import one_hot
        >>> one_hot(torch.tensor([2, 0]), classes=3)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    out = th.zeros(*index.shape, classes, device=index.device)
    return out.scatter_(-1, index[..., None], 1.0)


class CategoricalActions:
    """
    Independent categoricals, one for every action dimension, mixed with the uniform.

    Actions are integer indices (..., dims).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import CategoricalActions
        >>> actions = CategoricalActions(torch.zeros(4, 5), sizes=[2, 3], unimix=0.01)
        >>> drawn = actions.sample()
        >>> drawn.shape  # one index for each of two dimensions
        torch.Size([4, 2])
        >>> actions.log_prob(drawn)[0]  # log(1 / 2 * 1 / 3)
        tensor(-1.7918)

    :param logits: raw logits of all dimensions side by side, (..., sum(sizes))
    :param sizes: classes of every dimension
    :param unimix: share of the uniform distribution (paper, table 4: 1 %)
    """

    def __init__(self, logits: Tensor, sizes: Sequence[int], unimix: float) -> None:
        self.logits, self.sizes, self.unimix = logits, list(sizes), unimix

    @property
    def probs(self) -> list[Tensor]:
        """Probabilities of every dimension's classes."""
        return [mix_uniform(part, self.unimix) for part in self.logits.split(self.sizes, dim=-1)]

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        shape = (*self.logits.shape[:-1], len(self.sizes))
        return self.from_noise(self.draw(shape, generator, self.logits.device))

    @staticmethod
    def draw(shape: Sequence[int], generator: th.Generator | None, device: th.device) -> Tensor:
        """Draw what :meth:`from_noise` takes: one uniform number for every action dimension."""
        return th.rand(*shape, generator=generator, device=device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Turn the noise of :meth:`draw` into actions, (..., dims) to (..., dims)."""
        if kernels.uses_triton(self.logits) and not needs_graph():
            from dreamzoo.nn.fast.triton import actions as triton_actions

            logits, draws = self.logits.flatten(0, -2), noise.flatten(0, -2)
            return triton_actions.choose(logits, self.sizes, self.unimix, draws).view(noise.shape)
        pairs = zip(self.probs, noise.unbind(-1), strict=True)
        return th.stack([invert_cumulative(p, draw) for p, draw in pairs], dim=-1)

    def mode(self) -> Tensor:
        return th.stack([p.argmax(-1) for p in self.probs], dim=-1)

    def log_prob_and_entropy(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both for actions, (..., dims) to (...) each."""
        if self.unimix == 0.0:  # a probability may round to 0, whose logarithm has no gradient
            split = self.logits.split(self.sizes, dim=-1)
            logs = [at_least_float32(part).log_softmax(-1) for part in split]
            parts = [x.gather(-1, action[..., i, None])[..., 0] for i, x in enumerate(logs)]
            return th.stack(parts).sum(0), th.stack([-(x.exp() * x).sum(-1) for x in logs]).sum(0)
        probs = self.probs
        parts = [p.gather(-1, action[..., i, None])[..., 0] for i, p in enumerate(probs)]
        entropies = [-(th.xlogy(p, p)).sum(-1) for p in probs]
        return th.stack(parts).log().sum(0), th.stack(entropies).sum(0)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_prob_and_entropy(action)[0]

    def entropy(self) -> Tensor:
        return self.log_prob_and_entropy(self.mode())[1]


class BoundedNormalActions:
    """
    Gaussian whose mean and deviation are bounded and whose samples are not (reference outs.py).

    mean = tanh(raw), std = (max - min) sigmoid(raw + 2) + min. A sample is neither clipped nor
    squashed: the environment clips, the model divides by ``max(1, |a|)``.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import BoundedNormalActions
        >>> actions = BoundedNormalActions(torch.full((4, 2), 9.0), torch.zeros(4, 2))
        >>> actions.mode()[0], actions.std[0]
        (tensor([1.0000, 1.0000]), tensor([0.8927, 0.8927]))
        >>> actions.sample().shape, actions.entropy().shape
        (torch.Size([4, 2]), torch.Size([4]))

    :param raw_mean: (..., A)
    :param raw_std: (..., A)
    :param min_std: smallest standard deviation
    :param max_std: largest standard deviation
    """

    def __init__(
        self, raw_mean: Tensor, raw_std: Tensor, min_std: float = 0.1, max_std: float = 1.0
    ) -> None:
        self.raw_mean, self.raw_std = raw_mean.float(), raw_std.float()
        self.bounds = min_std, max_std - min_std

    @property
    def mean(self) -> Tensor:
        return th.tanh(self.raw_mean)

    @property
    def std(self) -> Tensor:
        low, span = self.bounds
        return span * th.sigmoid(self.raw_std + 2.0) + low

    def sample(self, generator: th.Generator | None = None) -> Tensor:
        return self.from_noise(self.draw(self.raw_mean.shape, generator, self.raw_mean.device))

    @staticmethod
    def draw(shape: Sequence[int], generator: th.Generator | None, device: th.device) -> Tensor:
        """Draw what :meth:`from_noise` takes: unit normal numbers."""
        return th.randn(*shape, generator=generator, device=device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Turn the noise of :meth:`draw` into actions, (..., A) to (..., A)."""
        if kernels.uses_triton(self.raw_mean) and not needs_graph():
            from dreamzoo.nn.fast.triton import actions as triton_actions

            return triton_actions.bounded_normal(self.raw_mean, self.raw_std, *self.bounds, noise)
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        return self.mean

    def log_prob_and_entropy(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both for actions without a gradient, (..., A) to (...) each."""
        if kernels.uses_triton(self.raw_mean) and not is_traced():
            from dreamzoo.nn.fast.triton.actions import NormalTerms

            rows = (x.flatten(0, -2) for x in (self.raw_mean, self.raw_std, action))
            log_prob, entropy = NormalTerms.apply(*rows, *self.bounds)
            return log_prob.view(action.shape[:-1]), entropy.view(action.shape[:-1])
        mean, std = self.mean, self.std
        scaled = (action - mean) / std
        log_prob = (-0.5 * scaled.square() - std.log() - 0.5 * _LOG_2PI).sum(-1)
        return log_prob, (std.log() + 0.5 * (1.0 + _LOG_2PI)).sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_prob_and_entropy(action)[0]

    def entropy(self) -> Tensor:
        return self.log_prob_and_entropy(self.mode().detach())[1]


_LOG_2PI = 1.8378770664093453


def soft_bernoulli_loss(logit: Tensor, target: Tensor) -> Tensor:
    """
    Cross-entropy of a Bernoulli with a target between 0 and 1.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.distributions import soft_bernoulli_loss
        >>> soft_bernoulli_loss(torch.zeros(1), torch.tensor([0.9]))  # log 2: as likely as not
        tensor([0.6931])

    :param logit: (...)
    :param target: probability, (...)
    :return: (...)
    """
    return F.binary_cross_entropy_with_logits(logit.float(), target, reduction="none")
