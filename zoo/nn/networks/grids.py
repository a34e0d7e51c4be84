"""Small images, such as the boards of MinAtar and MiniGrid: a CNN that knows every cell's place."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.fast.pieces import by_images
from dreamzoo.nn.fast.products import wide
from dreamzoo.nn.networks.layers import Conv2d
from dreamzoo.nn.observations import Key

#: Longest side of what a grid is reduced to.
CODE_SIDE = 5
#: Channels of the code, in units of those of the first convolution.
CODE_MULT = 2


class Style(NamedTuple):
    """
    What the layers of an agent have in common.

    :param init_: initializes a convolution in place
    :param after: makes what follows a convolution of so many channels
    """

    init_: Callable[[nn.Conv2d], object]
    after: Callable[[int], nn.Module]


def pictures(keys: Sequence[Key]) -> list[Key]:
    """List the images that are large enough for the CNNs of pictures."""
    return [key for key in keys if not key.is_small]


def group_by_resolution(keys: Sequence[Key]) -> list[list[Key]]:
    """Group image keys that share height and width; each group is one stack of channels."""
    groups: dict[tuple[int, ...], list[Key]] = defaultdict(list)
    for key in keys:
        groups[key.shape[1:]].append(key)
    return list(groups.values())


def grid_resolutions(height: int, width: int) -> list[tuple[int, int]]:
    """
    List the resolutions that the CNN passes through, from the grid down.

    Either side is halved, odd ones rounded up, while it is longer than five cells; at least one
    step is there, also if it halves nothing.

    Example:
        >>> from dreamzoo.nn.networks.grids import grid_resolutions
        >>> grid_resolutions(10, 10)
        [(10, 10), (5, 5)]
        >>> grid_resolutions(3, 3), grid_resolutions(5, 12)
        ([(3, 3), (3, 3)], [(5, 12), (5, 6), (5, 3)])

    :param height: cells
    :param width: cells
    """

    def less(n: int) -> int:
        return -(-n // 2) if n > CODE_SIDE else n

    sizes = [(height, width)]
    while len(sizes) == 1 or max(sizes[-1]) > CODE_SIDE:
        sizes.append((less(sizes[-1][0]), less(sizes[-1][1])))
    return sizes


class GridEncoder(nn.Module):
    """
    Convolve 3x3 on every cell, then once for every halving, as far as the sides are long.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.grids import GridEncoder, Style
        >>> style = Style(torch.nn.Identity(), lambda channels: torch.nn.ReLU())
        >>> GridEncoder((4, 10, 10), depth=8, style=style)(torch.zeros(2, 4, 10, 10)).shape
        torch.Size([2, 400])

    :param shape: channels of all grids of this resolution together, height, width
    :param depth: channels of the first convolution, half of those of the others
    :param style: of the layers
    """

    def __init__(self, shape: tuple[int, int, int], depth: int, style: Style) -> None:
        super().__init__()
        channels, height, width = shape
        sizes, inner = grid_resolutions(height, width), CODE_MULT * depth
        layers: list[nn.Module] = [_conv(channels, depth, style), style.after(depth)]
        channels = depth
        for large, small in pairwise(sizes):
            stride = tuple(1 if a == b else 2 for a, b in zip(large, small, strict=True))
            layers += [_conv(channels, inner, style, stride), style.after(inner)]
            channels = inner
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_dim = inner * sizes[-1][0] * sizes[-1][1]
        self.largest = height * width * depth

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=th.channels_last)
        return wide(by_images(self.layers, self.largest, x))


class Grow(nn.Module):
    """
    Repeat cells until there are as many as before a halving.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.grids import Grow
        >>> Grow((1, 2), (1, 3))(torch.tensor([[[[7.0, 8.0]]]]))
        tensor([[[[7., 7., 8.]]]])

    :param small: height and width before
    :param large: and afterwards
    """

    def __init__(self, small: tuple[int, int], large: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = large
        self.factors = tuple(1.0 if a == b else 2.0 for a, b in zip(small, large, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factors)[..., : self.height, : self.width]


class GridDecoder(nn.Module):
    """
    Mirror of :class:`GridEncoder`.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.grids import GridDecoder, Style
        >>> style = Style(torch.nn.Identity(), lambda channels: torch.nn.ReLU())
        >>> decoder = GridDecoder((2, 5, 9), 8, style, lambda code: torch.nn.Linear(6, code))
        >>> decoder(torch.zeros(3, 6)).shape
        torch.Size([3, 2, 5, 9])

    :param shape: as the encoder's, as all that follows
    :param depth: channels before the last convolution
    :param style: of the layers
    :param seed: makes the network from features to a code of so many numbers
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int,
        style: Style,
        seed: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = grid_resolutions(height, width)[::-1]
        inner = CODE_MULT * depth
        code = inner, *sizes[0]
        layers = [seed(inner * sizes[0][0] * sizes[0][1]), nn.Unflatten(1, code)]
        layers.append(style.after(inner))
        for small, large in pairwise(sizes):
            out = depth if large == sizes[-1] else inner
            layers += [Grow(small, large), _conv(inner, out, style), style.after(out)]
        self.layers = nn.Sequential(*layers, _conv(depth, channels, style))
        self.largest = height * width * depth

    def forward(self, feat: Tensor) -> Tensor:
        return wide(by_images(self.layers, self.largest, feat))


def _conv(
    in_channels: int, out_channels: int, style: Style, stride: tuple[int, ...] = (1, 1)
) -> Conv2d:
    conv = Conv2d(in_channels, out_channels, 3, stride, padding=1)  # type: ignore[arg-type]
    style.init_(conv)
    return conv


class GridEncoders(nn.Module):
    """
    Encode all small images, those of one resolution as channels of one.

    Without any it has no parameters and gives no numbers.

    :param keys: images; the larger ones are left to others
    :param depth: see :class:`GridEncoder`
    :param style: of the layers
    """

    def __init__(self, keys: Sequence[Key], depth: int, style: Style) -> None:
        super().__init__()
        self.keys = [key for key in keys if key.is_small]
        self.groups = group_by_resolution(self.keys)
        self.nets = nn.ModuleList(GridEncoder(_stack(group), depth, style) for group in self.groups)
        self.features_dim = sum(net.out_dim for net in self.nets)  # type: ignore[misc]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """
        Encode network inputs.

        :param inputs: one tensor for every key, (N, C, H, W)
        :return: (N, features_dim)
        """
        stacks = (th.cat([inputs[key.name] for key in group], dim=1) for group in self.groups)
        tokens = [net(stack) for net, stack in zip(self.nets, stacks, strict=True)]
        return th.cat(tokens, dim=-1)


class GridDecoders(nn.Module):
    """
    Predict all small images, see :class:`GridEncoders`.

    :param keys: images; the larger ones are left to others
    :param depth: see :class:`GridDecoder`
    :param style: of the layers
    :param seed: makes the network from features to a code of so many numbers, one for each
        resolution
    """

    def __init__(
        self, keys: Sequence[Key], depth: int, style: Style, seed: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.keys = [key for key in keys if key.is_small]
        self.groups = group_by_resolution(self.keys)
        self.nets = nn.ModuleList(
            GridDecoder(_stack(group), depth, style, seed) for group in self.groups
        )

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """
        Predict every small image, as the last convolution gives it.

        :param feat: model states, (N, F)
        :return: (N, C, H, W) each
        """
        predictions: dict[str, Tensor] = {}
        for group, net in zip(self.groups, self.nets, strict=True):
            parts = net(feat).split([key.shape[0] for key in group], dim=1)
            predictions |= {key.name: part for key, part in zip(group, parts, strict=True)}
        return predictions


def _stack(keys: Sequence[Key]) -> tuple[int, int, int]:
    """Return the shape of several images of one resolution as channels of one."""
    height, width = keys[0].shape[1:]
    return sum(key.shape[0] for key in keys), height, width
