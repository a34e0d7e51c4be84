"""Heads on model states: two-hot scalars, continuation, actions."""

from collections.abc import Sequence

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.nn.distributions import BoundedNormalActions, CategoricalActions, SymexpTwoHot
from dreamzoo.nn.layers import MLP, Linear, by_rows
from dreamzoo.nn.observations import multi_one_hot

ActionDistribution = CategoricalActions | BoundedNormalActions


class Head(nn.Module):
    """
    MLP from features to numbers.

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


class ActionCodec:
    """
    Between actions as the replay stores them and the vectors that the dynamics read.

    Box actions are stored and read as they are, in units where the bounds are -1 and 1.
    Discrete, MultiDiscrete and MultiBinary actions are stored as integers and read one-hot.

    :param space: action space
    :raises ValueError: for any other space
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        self.sizes: list[int] = []
        self.start = 0
        self._constants: dict[tuple[str, th.device], Tensor] = {}
        if isinstance(space, spaces.Box):
            self.dim = int(np.prod(space.shape))
            width = space.high.astype(np.float64) - space.low.astype(np.float64)
            if not (width <= np.finfo(np.float32).max).all():
                raise ValueError(
                    f"The bounds of {space} are too far apart to scale actions of [-1, 1] to them. "
                    "Give the action space the bounds that the environment really has."
                )
            return
        if isinstance(space, spaces.Discrete):
            self.sizes, self.start = [int(space.n)], int(space.start)
        elif isinstance(space, spaces.MultiDiscrete):
            self.sizes = [int(n) for n in space.nvec.flatten()]
        elif isinstance(space, spaces.MultiBinary):
            self.sizes = [2] * int(np.prod(space.shape))
        else:
            raise ValueError(
                f"Unsupported action space {space}. Supported: Box, Discrete, MultiDiscrete, "
                "MultiBinary."
            )
        self.dim = sum(self.sizes)

    @property
    def is_discrete(self) -> bool:
        return bool(self.sizes)

    def from_env(self, action: Tensor) -> Tensor:
        """
        Turn actions of the environment into replay form; continuous ones are clipped.

        :param action: (n, *space.shape)
        :return: (n, number of dimensions)
        """
        space = self.space
        if isinstance(space, spaces.Box):
            low, high = self._constant("low", action), self._constant("high", action)
            width = th.where(high > low, high - low, 1.0)  # a fixed dimension has none
            unit = 2.0 * (action.float() - low) / width - 1.0
            return unit.clamp(-1.0, 1.0).reshape(len(action), self.dim)
        if isinstance(space, spaces.MultiDiscrete):
            action = action - self._constant("start", action)
        return action.reshape(len(action), len(self.sizes)) - self.start

    def _constant(self, name: str, like: Tensor) -> Tensor:
        """Keep an array of the space on the device of a tensor."""
        key = (name, like.device)
        if key not in self._constants:
            value = np.asarray(getattr(self.space, name))
            value = value.astype(np.int64 if self.is_discrete else np.float32)
            self._constants[key] = th.as_tensor(value, device=like.device)
        return self._constants[key]

    def encode(self, action: Tensor) -> Tensor:
        """
        :param action: (..., number of dimensions), integers from 0 or floats
        :return: (..., dim), float
        """
        if not self.is_discrete:
            return action.float()
        return multi_one_hot(action.long(), self.sizes)


class Actor(nn.Module):
    """
    Policy head: one trunk, categorical or bounded-normal outputs (reference heads.py).

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
        return self.policy(self.body(feat))

    def policy(self, hidden: Tensor) -> ActionDistribution:
        """Read the policy off the trunk's result."""
        if self.std is None:
            return CategoricalActions(self.mean(hidden), self.codec.sizes, self.unimix)
        return BoundedNormalActions(self.mean(hidden), self.std(hidden))

    def draw(
        self, lead: Sequence[int], generator: th.Generator | None, device: th.device
    ) -> Tensor:
        """
        Draw the noise of many actions at once, for ``policy.from_noise``.

        :param lead: batch axes
        :return: (*lead, number of action dimensions)
        """
        if self.std is None:
            return CategoricalActions.draw((*lead, len(self.codec.sizes)), generator, device)
        return BoundedNormalActions.draw((*lead, self.codec.dim), generator, device)

    def max_entropy(self) -> float:
        """Largest entropy that this policy can have, nats."""
        if self.codec.is_discrete:
            return float(np.log(self.codec.sizes).sum())
        return self.codec.dim * 0.5 * float(np.log(2 * np.pi * np.e))
