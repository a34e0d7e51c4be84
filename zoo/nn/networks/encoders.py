"""Encoder of DreamerV3: one CNN for images, one MLP for everything else."""

from itertools import pairwise
from typing import Literal, TypeVar

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.distributions import symlog
from dreamzoo.nn.fast import images
from dreamzoo.nn.fast.pieces import by_images
from dreamzoo.nn.networks.grids import GridEncoders, Style, group_by_resolution, pictures
from dreamzoo.nn.networks.layers import MLP, ChannelRMSNorm, Conv2d, DenseBlock, init_trunc_normal_
from dreamzoo.nn.observations import ObservationCodec

#: How images shrink: 2x2 max-pooling (newest reference) or strides (code of the paper's time).
CnnKind = Literal["maxpool", "strided"]

#: Channels after the stages in units of ``cnn_depth`` (reference configs.yaml, enc.simple.mults;
#: the strided one of the paper's time had a first convolution of ``cnn_depth`` before these).
CNN_MULTS = (2, 3, 4, 4)
KERNEL = 5
MIN_RESOLUTION, MAX_RESOLUTION = 3, 16


Layer = TypeVar("Layer", bound=nn.Module)


class Conv(Conv2d):
    """5x5 convolution that keeps the resolution, with the reference's initialization."""

    bias: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, KERNEL, stride, padding=KERNEL // 2)
        init_conv_(self, in_channels)

    def unbiased(self, x: Tensor) -> Tensor:
        """Convolve without the bias, in the dtype of x."""
        return F.conv2d(x, images.as_kernel(self.weight, x), None, self.stride, self.padding)


class StridedConv(Conv):
    """
    5x5 convolution of stride 2 that halves the resolution, rounding up.

    Even sizes are padded by 1 before and 2 after, as JAX's "SAME" does, not by 2 on both sides.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, stride=2)
        self.padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self._padded(x))

    def unbiased(self, x: Tensor) -> Tensor:
        return super().unbiased(self._padded(x))

    def _padded(self, x: Tensor) -> Tensor:
        rows, columns = (1 + n % 2 for n in x.shape[-2:])
        return F.pad(x, (columns, 2, rows, 2))


def init_conv_(layer: nn.Conv2d | nn.ConvTranspose2d, in_channels: int) -> None:
    """Initialize kernel and bias as the reference does."""
    init_trunc_normal_(layer.weight, layer.weight[0, 0].numel() * in_channels)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def cnn_resolutions(height: int, width: int) -> list[tuple[int, int]]:
    """
    List the resolutions that the CNN passes through, from the image down.

    Four halvings, as in the reference (64 gives 4, 96 gives 6); odd sizes are rounded up. Very
    large images get more halvings and very small ones fewer, so that the last resolution lies
    between 3 and 16.

    :param height: pixels
    :param width: pixels
    """
    sizes = [(height, width)]
    stages = len(CNN_MULTS)

    def halved(n: int) -> tuple[int, int]:
        return -(-height // 2**n), -(-width // 2**n)

    while stages > 1 and min(halved(stages)) < MIN_RESOLUTION:
        stages -= 1
    while max(halved(stages)) > MAX_RESOLUTION:
        stages += 1
    sizes += [halved(n) for n in range(1, stages + 1)]
    return sizes


def cnn_channels(depth: int, stages: int) -> list[int]:
    """Channels after every stage of the encoder's CNN."""
    mults = [*CNN_MULTS, *[CNN_MULTS[-1]] * stages][:stages]
    return [depth * mult for mult in mults]


class ImageEncoder(nn.Module):
    """
    Convolution, 2x2 max-pool, RMS norm, SiLU, four times; the norm follows the pooling.

    :param channels: channels of all images of this resolution together
    :param height: pixels
    :param width: pixels
    :param depth: channel multiplier
    :param kind: ``strided`` has one convolution more, before the halvings, and no pooling
    """

    def __init__(
        self, channels: int, height: int, width: int, depth: int, kind: CnnKind = "maxpool"
    ) -> None:
        super().__init__()
        sizes = cnn_resolutions(height, width)
        outs = cnn_channels(depth, len(sizes) - 1)
        layers: list[nn.Module] = []
        self.pools = kind == "maxpool"
        if kind == "strided":
            layers += [Conv(channels, depth), ChannelRMSNorm(depth), nn.SiLU()]
            channels = depth
        for in_channels, out_channels in pairwise([channels, *outs]):
            if kind == "strided":
                layers.append(StridedConv(in_channels, out_channels))
            else:
                layers += [Conv(in_channels, out_channels), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [ChannelRMSNorm(out_channels), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_dim = outs[-1] * sizes[-1][0] * sizes[-1][1]
        self.largest = height * width * (depth if kind == "strided" else outs[0])

    def forward(self, x: Tensor) -> Tensor:
        if images.is_fused(x):
            return self._fused(x)
        return by_images(self._forward, self.largest, x)

    def _forward(self, x: Tensor) -> Tensor:
        # [0, 1] becomes [-0.5, 0.5]. Convolutions of few channels take half the time channels last.
        return self.layers((x - 0.5).contiguous(memory_format=th.channels_last))

    def _fused(self, x: Tensor) -> Tensor:
        """Compute the same with all that follows a convolution in one kernel."""
        pairs = zip(self._all(Conv), self._all(ChannelRMSNorm), strict=True)
        stages = [(conv, conv.bias, norm.weight) for conv, norm in pairs]
        if self.pools:
            (conv, bias, scale), *stages = stages
            x = images.first_stage(x, conv.weight, bias, scale)
            for conv, bias, scale in stages:
                x = images.pool_norm_silu(conv.unbiased(x), bias, scale)
        else:
            x = images.centered(x)
            for conv, bias, scale in stages:
                x = images.norm_silu(conv.unbiased(x), bias, scale)
        return x.flatten(1).float()

    def _all(self, kind: type[Layer]) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, kind)]


#: Layers of the CNN of small images.
GRID_STYLE = Style(
    lambda conv: init_conv_(conv, conv.in_channels),
    lambda channels: nn.Sequential(ChannelRMSNorm(channels), nn.SiLU()),
)


class Encoder(nn.Module):
    """
    Map network inputs to tokens (reference rssm.py, Encoder).

    Images of less than 36 pixels have a CNN of their own, see :mod:`dreamzoo.nn.networks.grids`.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.encoders import Encoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Box(-1, 1, (3,)))
        >>> encoder = Encoder(codec, units=8, cnn_depth=2, layers=1)
        >>> encoder(codec.encode(torch.zeros(4, 3))).shape, encoder.features_dim
        (torch.Size([4, 8]), 8)

    :param codec: says which keys there are
    :param units: width of the hidden layers that read all vectors
    :param cnn_depth: channel multiplier of the CNN
    :param layers: hidden layers that read all vectors
    :param cnn_output_dim: project the tokens of every image stack to this width; None, as in
        the reference, keeps all pixels of the last feature map
    :param cnn: how images shrink
    """

    def __init__(
        self,
        codec: ObservationCodec,
        *,
        units: int,
        cnn_depth: int,
        layers: int,
        cnn_output_dim: int | None = None,
        cnn: CnnKind = "maxpool",
    ) -> None:
        super().__init__()
        self.codec = codec
        self.image_groups = group_by_resolution(pictures(codec.image_keys))
        self.cnns = nn.ModuleList()
        self.features_dim = 0
        for group in self.image_groups:
            channels = sum(key.shape[0] for key in group)
            _, height, width = group[0].shape
            net = ImageEncoder(channels, height, width, cnn_depth, cnn)
            if cnn_output_dim is None:
                self.cnns.append(net)
                self.features_dim += net.out_dim
            else:
                self.cnns.append(nn.Sequential(net, DenseBlock(net.out_dim, cnn_output_dim)))
                self.features_dim += cnn_output_dim
        self.grids = GridEncoders(codec.image_keys, CNN_MULTS[0] * cnn_depth, GRID_STYLE)
        self.grid_out: DenseBlock | None = None
        grid_dim = self.grids.features_dim
        if grid_dim and cnn_output_dim is not None:
            self.grid_out, grid_dim = DenseBlock(grid_dim, cnn_output_dim), cnn_output_dim
        self.features_dim += grid_dim
        self.mlp: MLP | None = None
        if codec.flat_keys:
            in_dim = sum(key.width for key in codec.flat_keys)
            self.mlp = MLP(in_dim, [units] * layers)
            self.features_dim += units

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """
        Encode network inputs.

        :param inputs: what :meth:`ObservationCodec.encode` returns, one batch axis
        :return: tokens, (N, features_dim)
        """
        tokens = []
        if self.mlp is not None:
            flat = [
                symlog(inputs[k.name]) if k.kind == "vector" else inputs[k.name]
                for k in self.codec.flat_keys
            ]
            tokens.append(self.mlp(th.cat(flat, dim=-1)))
        for group, cnn in zip(self.image_groups, self.cnns, strict=True):
            tokens.append(cnn(th.cat([inputs[key.name] for key in group], dim=1)))
        if self.grids.keys:
            cells = self.grids({key.name: inputs[key.name] - 0.5 for key in self.grids.keys})
            tokens.append(cells if self.grid_out is None else self.grid_out(cells))
        return th.cat(tokens, dim=-1)
