"""Heads of the first two Dreamers: policies with a gradient through their draws, logits."""

from collections.abc import Sequence

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.action_distributions import (
    OneHotActions,
    TanhNormalActions,
    TruncatedNormalActions,
)
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.networks.world_models import Activation, GlorotLinear, glorot_mlp

DenseActionDistribution = OneHotActions | TanhNormalActions | TruncatedNormalActions


class DenseHead(nn.Module):
    """
    Plain layers from features to numbers.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.actors import DenseHead
        >>> DenseHead(in_dim=20, out_dim=3, widths=[8, 8])(torch.zeros(4, 20)).shape
        torch.Size([4, 3])

    :param in_dim: width F of the features
    :param out_dim: outputs
    :param widths: hidden layers
    :param activation: of these
    """

    def __init__(
        self, in_dim: int, out_dim: int, widths: Sequence[int], activation: Activation = "elu"
    ) -> None:
        super().__init__()
        self.body = glorot_mlp(in_dim, widths, activation)
        self.out = GlorotLinear([in_dim, *widths][-1], out_dim)

    def forward(self, feat: Tensor) -> Tensor:
        return self.out(self.body(feat))


class DenseActor(DenseHead):
    """
    Policy of the first two Dreamers: straight-through one-hot, or what the agent says of numbers.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.action_distributions import TanhNormalActions
        >>> from dreamzoo.nn.actions import ActionCodec
        >>> from dreamzoo.nn.networks.actors import DenseActor
        >>> from gymnasium import spaces
        >>> codec = ActionCodec(spaces.Box(-1, 1, (2,)))
        >>> actor = DenseActor(20, [8], codec, TanhNormalActions)
        >>> actor(torch.zeros(4, 20)).sample().shape
        torch.Size([4, 2])

    :param in_dim: width F of the features
    :param widths: hidden layers
    :param codec: the action space
    :param continuous: distribution of the actions of a Box
    :param activation: of the hidden layers
    """

    def __init__(
        self,
        in_dim: int,
        widths: Sequence[int],
        codec: ActionCodec,
        continuous: type[TanhNormalActions] | type[TruncatedNormalActions],
        activation: Activation = "elu",
    ) -> None:
        super().__init__(
            in_dim, codec.dim if codec.is_discrete else 2 * codec.dim, widths, activation
        )
        self.codec, self.continuous = codec, continuous

    def forward(self, feat: Tensor) -> DenseActionDistribution:  # type: ignore[override]
        return self.distribution(self.evaluate(feat))

    def evaluate(self, feat: Tensor) -> Tensor:
        """From features (..., F) to the numbers that :meth:`distribution` reads."""
        return super().forward(feat)

    def distribution(self, raw: Tensor) -> DenseActionDistribution:
        """Read the distribution of actions off the network's result."""
        if self.codec.is_discrete:
            return OneHotActions(raw, self.codec.sizes)
        return self.continuous(*raw.chunk(2, dim=-1))

    @staticmethod
    def encode(actions: Tensor) -> Tensor:
        """Turn actions into what the dynamics read, which they are already."""
        return actions

    def draw(
        self, lead: Sequence[int], generator: th.Generator | None, device: th.device
    ) -> Tensor:
        """
        Draw the noise of many actions at once, for ``distribution.from_noise``.

        :param lead: batch axes
        :return: ``(*lead, number of action dimensions)``
        """
        if self.codec.is_discrete:
            return OneHotActions.draw((*lead, len(self.codec.sizes)), generator, device)
        return self.continuous.draw((*lead, self.codec.dim), generator, device)
