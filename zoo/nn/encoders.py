"""Encoder of DreamerV3: one CNN for images, one MLP for everything else."""

from collections import defaultdict

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.distributions import symlog
from dreamzoo.nn.layers import MLP, ChannelRMSNorm, DenseBlock, init_trunc_normal_
from dreamzoo.nn.observations import Key, ObservationCodec
from dreamzoo.nn.presets import Size

#: Channels of the stages in units of ``cnn_depth`` (reference configs.yaml, enc.simple.mults).
CNN_MULTS = (2, 3, 4, 4)
KERNEL = 5
MIN_RESOLUTION, MAX_RESOLUTION = 3, 16


class Conv(nn.Conv2d):
    """5x5 convolution that keeps the resolution, with the reference's initialisation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, KERNEL, padding=KERNEL // 2)
        init_trunc_normal_(self.weight, KERNEL * KERNEL * in_channels)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


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
    """

    def __init__(self, channels: int, height: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = cnn_resolutions(height, width)
        outs = cnn_channels(depth, len(sizes) - 1)
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip([channels, *outs[:-1]], outs, strict=True):
            layers += [
                Conv(in_channels, out_channels),
                nn.MaxPool2d(2, ceil_mode=True),
                ChannelRMSNorm(out_channels),
                nn.SiLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.out_dim = outs[-1] * sizes[-1][0] * sizes[-1][1]

    def forward(self, images: Tensor) -> Tensor:
        # [0, 1] becomes [-0.5, 0.5]. Convolutions of few channels take half the time channels last.
        return self.layers((images - 0.5).contiguous(memory_format=th.channels_last))


def group_by_resolution(keys: list[Key]) -> list[list[Key]]:
    """Group image keys that share height and width; each group is one stack of channels."""
    groups: dict[tuple[int, ...], list[Key]] = defaultdict(list)
    for key in keys:
        groups[key.shape[1:]].append(key)
    return list(groups.values())


class Encoder(nn.Module):
    """
    Map network inputs to tokens (reference rssm.py, Encoder).

    :param codec: says which keys there are
    :param size: widths
    :param cnn_output_dim: project the tokens of every image stack to this width; None, as in
        the reference, keeps all pixels of the last feature map
    """

    def __init__(
        self, codec: ObservationCodec, size: Size, cnn_output_dim: int | None = None
    ) -> None:
        super().__init__()
        self.codec = codec
        self.image_groups = group_by_resolution(codec.image_keys)
        self.cnns = nn.ModuleList()
        self.features_dim = 0
        for group in self.image_groups:
            channels = sum(key.shape[0] for key in group)
            _, height, width = group[0].shape
            cnn = ImageEncoder(channels, height, width, size.cnn_depth)
            if cnn_output_dim is None:
                self.cnns.append(cnn)
                self.features_dim += cnn.out_dim
            else:
                self.cnns.append(nn.Sequential(cnn, DenseBlock(cnn.out_dim, cnn_output_dim)))
                self.features_dim += cnn_output_dim
        self.mlp: MLP | None = None
        if codec.flat_keys:
            in_dim = sum(key.width for key in codec.flat_keys)
            self.mlp = MLP(in_dim, [size.units] * size.observation_layers)
            self.features_dim += size.units

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """
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
        return th.cat(tokens, dim=-1)
