"""Heads on model states: two-hot scalars, continuation, actions."""

from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from torch import Tensor, nn

from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.distributions import BoundedNormalActions, CategoricalActions, SymexpTwoHot
from dreamzoo.nn.fast.pieces import by_rows, cached_pieces
from dreamzoo.nn.fast.switch import computes_plainly
from dreamzoo.nn.fast.tapes import Piece
from dreamzoo.nn.fast.threads import map_pieces
from dreamzoo.nn.networks.layers import MLP, Linear

ActionDistribution = CategoricalActions | BoundedNormalActions


class Head(nn.Module):
    """
    MLP from features to numbers.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.heads import Head
        >>> Head(in_dim=20, out_dim=3, widths=[8, 8])(torch.zeros(4, 20)).shape
        torch.Size([4, 3])

    :param in_dim: width F of the features
    :param out_dim: outputs
    :param widths: hidden layers
    :param outscale: initial scale of the last layer
    """

    def __init__(
        self, in_dim: int, out_dim: int, widths: Sequence[int], outscale: float = 1.0
    ) -> None:
        super().__init__()
        self.body = MLP(in_dim, widths)
        self.out = Linear(self.body.out_dim, out_dim, outscale)

    def forward(self, feat: Tensor) -> Tensor:
        return self.out(self.body(feat))


class TwoHotHead(Head):
    """
    Predict a scalar as a symexp two-hot distribution; starts at exactly zero.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.heads import TwoHotHead
        >>> TwoHotHead(in_dim=20, widths=[8], bins=255).mean(torch.randn(3, 20)).tolist()
        [0.0, 0.0, 0.0]

    :param in_dim: width F of the features
    :param widths: hidden layers
    :param bins: number of bins
    """

    def __init__(self, in_dim: int, widths: Sequence[int], bins: int) -> None:
        super().__init__(in_dim, bins, widths, outscale=0.0)
        self.twohot = SymexpTwoHot(bins)

    def mean(self, feat: Tensor) -> Tensor:
        """Predict the scalar, (..., F) to (...)."""
        return by_rows(lambda rows: self.twohot.mean(self(rows)), feat)

    def sample(self, feat: Tensor, generator: th.Generator | None = None) -> Tensor:
        """Draw the scalar from the predicted distribution, (..., F) to (...)."""
        return self.twohot.sample(self(feat), generator)

    def loss(
        self, logits: Tensor, *targets: Tensor, weights: Sequence[float] | None = None
    ) -> Tensor:
        """Compute the summed cross-entropy to raw targets, see :class:`SymexpTwoHot`."""
        return self.twohot.loss(logits, *targets, weights=weights)


class Actor(nn.Module):
    """
    Policy head: one trunk, categorical or bounded-normal outputs (reference heads.py).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.actions import ActionCodec
        >>> from dreamzoo.nn.networks.heads import Actor
        >>> from gymnasium import spaces
        >>> actor = Actor(in_dim=20, widths=[8], codec=ActionCodec(spaces.Discrete(3)))
        >>> type(actor(torch.zeros(4, 20))).__name__
        'CategoricalActions'
        >>> actor = Actor(in_dim=20, widths=[8], codec=ActionCodec(spaces.Box(-1, 1, (2,))))
        >>> actor(torch.zeros(4, 20)).sample().shape
        torch.Size([4, 2])

    :param in_dim: width F of the features
    :param widths: hidden layers
    :param codec: the action space
    :param unimix: uniform share of discrete policies. Paper, table 4: 0.01; the code at
        publication of the revised version silently ignores it (its issue 219)
    :param outscale: initial scale of the last layer
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int],
        codec: ActionCodec,
        unimix: float = 0.01,
        outscale: float = 0.01,
    ) -> None:
        super().__init__()
        self.codec, self.unimix = codec, unimix
        self.body = MLP(in_dim, widths)
        self.mean = Linear(self.body.out_dim, codec.dim, outscale)  # logits if discrete
        self.std = None if codec.is_discrete else Linear(self.body.out_dim, codec.dim, outscale)

    def forward(self, feat: Tensor) -> ActionDistribution:
        return self.distribution(self.evaluate(feat))

    def evaluate(self, feat: Tensor) -> Tensor:
        """From features (..., F) to what :meth:`distribution` reads, (..., hidden units)."""
        return self.body(feat)

    def distribution(self, hidden: Tensor) -> ActionDistribution:
        """Read the distribution of actions off the trunk's result."""
        if self.std is None:
            return CategoricalActions(self.mean(hidden), self.codec.sizes, self.unimix)
        return BoundedNormalActions(self.mean(hidden), self.std(hidden))

    def draw(
        self, lead: Sequence[int], generator: th.Generator | None, device: th.device
    ) -> Tensor:
        """
        Draw the noise of many actions at once, for ``distribution.from_noise``.

        :param lead: batch axes
        :return: ``(*lead, number of action dimensions)``
        """
        if self.std is None:
            return CategoricalActions.draw((*lead, len(self.codec.sizes)), generator, device)
        return BoundedNormalActions.draw((*lead, self.codec.dim), generator, device)

    def encode(self, actions: Tensor) -> Tensor:
        """Turn actions into what the dynamics read, see :meth:`ActionCodec.encode`."""
        return self.codec.encode(actions)

    def max_entropy(self) -> float:
        """Largest entropy that this policy can have, nats."""
        if self.codec.is_discrete:
            return float(np.log(self.codec.sizes).sum())
        return self.codec.dim * 0.5 * float(np.log(2 * np.pi * np.e))


def evaluate(
    feat: Tensor, trained: Head, *fixed: Callable[[Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """
    Evaluate a head with the gradient of its weights, and what has none.

    All of them see some rows before any of them sees the next, which are then still in the cache.

    :param feat: features, without gradient, (..., F)
    :param trained: the head
    :param fixed: from features (n, F) to scalars (n,), one or several each
    :return: what the head returns, (..., O), and all the scalars in turn, (...) each
    """
    if computes_plainly():
        with th.no_grad():
            plain = tuple(scalar for function in fixed for scalar in function(feat))
        return trained(feat), plain
    rows, lead = feat.flatten(0, -2), feat.shape[:-1]
    trunk = trained.body.tape(len(rows))

    def evaluate_piece(piece: Piece) -> Tensor:
        trunk.evaluate(piece)
        return th.stack([scalar for function in fixed for scalar in function(piece[1])])

    pieces = trunk.plan(cached_pieces(trunk.read(rows)))
    scalars = th.cat(map_pieces(evaluate_piece, pieces, feat.device), dim=1)
    outputs = trained.out(trained.body.attach(trunk)).view(*lead, -1)
    return outputs, scalars.view(-1, *lead).unbind()
