"""Decoder of DreamerV3 and its reconstruction losses."""

from itertools import pairwise

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.distributions import symexp, symlog
from dreamzoo.nn.fast import images
from dreamzoo.nn.fast.pieces import by_images
from dreamzoo.nn.fast.products import narrow, wide
from dreamzoo.nn.networks.encoders import (
    CNN_MULTS,
    GRID_STYLE,
    KERNEL,
    CnnKind,
    Conv,
    cnn_channels,
    cnn_resolutions,
    init_conv_,
)
from dreamzoo.nn.networks.grids import GridDecoders, group_by_resolution, pictures
from dreamzoo.nn.networks.layers import (
    MLP,
    BlockLinear,
    ChannelRMSNorm,
    ConvTranspose2d,
    DenseBlock,
    Linear,
)
from dreamzoo.nn.observations import Key, ObservationCodec

#: What the five taps of a kernel read of three pixels that were each repeated: of a pixel and its
#: two neighbors, for the first and the second of the two copies that it becomes.
TAPS = (
    ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1)),
    ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1)),
)


class UpConv(nn.Module):
    """
    Double the resolution, crop it, and convolve 5x5.

    Five taps on repeated pixels see three different ones. So the four pixels that one becomes are
    four sums over 3x3 pixels of the small image: 36 products instead of 100, the same result.

    :param in_channels: channels
    :param out_channels: channels
    :param resolution: height and width that the encoder had there
    :param kind: ``maxpool`` repeats pixels and convolves, ``strided`` convolves transposed
    """

    def __init__(
        self, in_channels: int, out_channels: int, resolution: tuple[int, int], kind: CnnKind
    ) -> None:
        super().__init__()
        self.height, self.width = resolution
        self.transposed: ConvTranspose2d | None = None
        if kind == "strided":
            self.transposed = ConvTranspose2d(
                in_channels, out_channels, KERNEL, stride=2, padding=2, output_padding=1
            )
            init_conv_(self.transposed, in_channels)
        else:
            self.conv = Conv(in_channels, out_channels)
            self.taps: Tensor
            taps = th.tensor(TAPS, dtype=th.float32)
            self.register_buffer("taps", taps, persistent=False)
            products = th.einsum("aky,blx->yxabkl", taps, taps).reshape(KERNEL**2, -1)
            self.products: Tensor
            self.register_buffer("products", products, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_exact(x):
            weight = th.einsum("aky,blx,oiyx->oabikl", self.taps, self.taps, self.conv.weight)
            bias = self.conv.bias.repeat_interleave(4)
            fine = F.conv2d(*narrow(x, weight.flatten(0, 2), bias), padding=1)  # type: ignore[call-overload]
            return F.pixel_shuffle(fine, 2)
        x = F.interpolate(x, scale_factor=2) if self.transposed is None else self.transposed(x)
        x = x[..., : self.height, : self.width]
        return self.conv(x) if self.transposed is None else x

    def is_exact(self, x: Tensor) -> bool:
        """Return whether pixels are repeated and none cropped: what is cropped must not be seen."""
        sizes = 2 * x.shape[-2], 2 * x.shape[-1]
        return self.transposed is None and (self.height, self.width) == sizes

    def unbiased(self, x: Tensor) -> tuple[Tensor, Tensor, int]:
        """
        Do the same without the bias, in the dtype of x.

        :return: activations, the bias, and how many times as high and wide they shall become, see
            :func:`dreamzoo.nn.fast.images.norm_silu`
        """
        if self.is_exact(x):
            return images.up_conv(x, self.conv.weight, self.products), self.conv.bias, 2
        if self.transposed is None:
            x = F.interpolate(x, scale_factor=2)[..., : self.height, : self.width]
            return self.conv.unbiased(x), self.conv.bias, 1
        weight, bias = self.transposed.weight.to(x.dtype), self.transposed.bias
        assert bias is not None
        x = F.conv_transpose2d(x, weight, None, 2, 2, 1)[..., : self.height, : self.width]
        return x, bias, 1


class ImageDecoder(nn.Module):
    """
    Mirror of the encoder's CNN; the deterministic state enters block by block.

    :param channels: channels of all images of this resolution together
    :param height: pixels
    :param width: pixels
    :param deter: width D of the deterministic state
    :param stoch_dim: width S * C of the stochastic state
    :param units: half the width of the hidden layer that reads the stochastic state
    :param blocks: that the deterministic state is read in
    :param depth: channel multiplier
    :param kind: how images grow, see :class:`UpConv`
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        deter: int,
        stoch_dim: int,
        units: int,
        blocks: int,
        depth: int,
        kind: CnnKind = "maxpool",
    ) -> None:
        super().__init__()
        sizes = cnn_resolutions(height, width)
        depths = cnn_channels(depth, len(sizes) - 1)
        self.seed = sizes[-1]
        self.seed_channels = depths[-1]
        seed_dim = self.seed[0] * self.seed[1] * self.seed_channels
        self.from_deter = BlockLinear(deter, seed_dim, blocks)
        self.from_stoch = nn.Sequential(
            DenseBlock(stoch_dim, 2 * units), Linear(2 * units, seed_dim)
        )
        self.seed_norm = nn.Sequential(ChannelRMSNorm(self.seed_channels), nn.SiLU())
        layers: list[nn.Module] = []
        outs = depths[-2::-1] if kind == "maxpool" else [*depths[-2::-1], depth]
        for i, (in_channels, out_channels) in enumerate(pairwise([depths[-1], *outs])):
            layers += [UpConv(in_channels, out_channels, sizes[-2 - i], kind)]
            layers += [ChannelRMSNorm(out_channels), nn.SiLU()]
        last = outs[-1] if outs else depths[-1]
        final = Conv(last, channels) if kind == "strided" else None
        layers.append(final or UpConv(last, channels, sizes[0], kind))
        self.layers = nn.Sequential(*layers)
        self.largest = height * width * last

    def forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        return by_images(self._forward, self.largest, deter, stoch)

    def _forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        # Block k holds its own share of the channels over all pixels.
        spatial = self.from_deter(deter).view(-1, self.seed_channels, *self.seed)
        flat = self.from_stoch(stoch).view(-1, self.seed_channels, *self.seed)
        seed = (spatial + flat).contiguous(memory_format=th.channels_last)  # as in the encoder
        if images.is_fused(seed):
            return self._fused(seed)
        return th.sigmoid(wide(self.layers(self.seed_norm(seed))))

    def _fused(self, seed: Tensor) -> Tensor:
        """Compute the same with all that follows a convolution in one kernel."""
        x = seed.to(images.dtype_of_activations())
        scale = self.seed_norm.get_parameter("0.weight")
        x = images.norm_silu(x, th.zeros_like(scale), scale)
        *hidden, last = (x for x in self.layers if isinstance(x, (UpConv, Conv)))
        norms = (x for x in self.layers if isinstance(x, ChannelRMSNorm))
        for conv, norm in zip(hidden, norms, strict=True):
            x, bias, up = conv.unbiased(x)
            x = images.norm_silu(x, bias, norm.weight, up)
        if isinstance(last, UpConv):
            return images.sigmoid(*last.unbiased(x))
        return images.sigmoid(last.unbiased(x), last.bias)


class Decoder(nn.Module):
    """
    Predict observations from model states (reference rssm.py, Decoder).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.decoders import Decoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Box(-1, 1, (3,)))
        >>> widths = dict(deter=8, stoch_dim=12, units=8, blocks=2, cnn_depth=2, layers=1)
        >>> decoder = Decoder(codec, **widths)
        >>> codec.decode(decoder.most_likely(decoder(torch.zeros(4, 20)))).shape
        torch.Size([4, 3])

    :param codec: says which keys there are
    :param deter: width D of the deterministic state
    :param stoch_dim: width S * C of the stochastic state
    :param units: width of the hidden layers
    :param blocks: that the CNN reads the deterministic state in
    :param cnn_depth: channel multiplier of the CNN
    :param layers: hidden layers that predict all vectors
    :param vector_outscale: initial scale of the vector outputs (1.0; paper-era code 0.1)
    :param cnn: how images grow
    """

    def __init__(
        self,
        codec: ObservationCodec,
        *,
        deter: int,
        stoch_dim: int,
        units: int,
        blocks: int,
        cnn_depth: int,
        layers: int,
        vector_outscale: float = 1.0,
        cnn: CnnKind = "maxpool",
    ) -> None:
        super().__init__()
        self.codec = codec
        self.deter_dim = deter
        self.image_groups = group_by_resolution(pictures(codec.image_keys))
        self.cnns = nn.ModuleList()
        for group in self.image_groups:
            channels = sum(key.shape[0] for key in group)
            _, height, width = group[0].shape
            self.cnns.append(
                ImageDecoder(
                    channels,
                    height,
                    width,
                    deter=deter,
                    stoch_dim=stoch_dim,
                    units=units,
                    blocks=blocks,
                    depth=cnn_depth,
                    kind=cnn,
                )
            )
        feat, hidden = deter + stoch_dim, 2 * units
        self.grids = GridDecoders(
            codec.image_keys,
            CNN_MULTS[0] * cnn_depth,
            GRID_STYLE,
            lambda code: nn.Sequential(DenseBlock(feat, hidden), Linear(hidden, code)),
        )
        self.mlp: MLP | None = None
        self.outputs = nn.ModuleList()
        if codec.flat_keys:
            self.mlp = MLP(feat, [units] * layers)
            for key in codec.flat_keys:
                self.outputs.append(Linear(units, key.width, vector_outscale))

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """
        Predict every key.

        :param feat: model states, (N, F)
        :return: raw predictions of every key: images in [0, 1], symlog vectors, logits
        """
        predictions = {}
        if self.mlp is not None:
            hidden = self.mlp(feat)
            for key, output in zip(self.codec.flat_keys, self.outputs, strict=True):
                predictions[key.name] = output(hidden)
        deter, stoch = feat[:, : self.deter_dim], feat[:, self.deter_dim :]
        for group, cnn in zip(self.image_groups, self.cnns, strict=True):
            parts = cnn(deter, stoch).split([key.shape[0] for key in group], dim=1)
            predictions.update({key.name: x for key, x in zip(group, parts, strict=True)})
        predictions.update({name: th.sigmoid(x) for name, x in self.grids(feat).items()})
        return predictions

    def loss(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """
        Compute the reconstruction loss of every key, summed over its dimensions.

        :param predictions: what :meth:`forward` returns
        :param targets: what :meth:`ObservationCodec.encode` returns
        :return: (N,) each
        """
        return {
            k.name: reconstruction_loss(k, predictions[k.name], targets[k.name])
            for k in self.codec.keys
        }

    def most_likely(self, predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn raw predictions into values in network form (:meth:`ObservationCodec.decode`)."""
        values = dict(predictions)
        for key in self.codec.flat_keys:
            if key.kind == "vector":
                values[key.name] = symexp(predictions[key.name])
            elif key.kind == "binary":
                values[key.name] = th.sigmoid(predictions[key.name])
        return values


def reconstruction_loss(key: Key, prediction: Tensor, target: Tensor) -> Tensor:
    """
    Compute DreamerV3's reconstruction loss of one key, summed over its dimensions.

    :param key: which part of the observation
    :param prediction: raw prediction, (N, ...)
    :param target: network input, (N, ...)
    :return: (N,)
    """
    # Sums, not means: a mean would shrink reconstruction a thousandfold against the KL terms.
    if key.kind == "image":
        if images.is_fused(prediction):
            return images.squared_error(prediction, target)
        return (prediction - target).square().flatten(1).sum(1)
    if key.kind == "vector":
        return (prediction - symlog(target)).square().sum(-1)
    if key.kind == "binary":
        return F.binary_cross_entropy_with_logits(prediction, target, reduction="none").sum(-1)
    sizes = getattr(key.space, "nvec", None)
    parts = [key.width] if sizes is None else sizes.flatten().tolist()
    pairs = zip(prediction.split(parts, -1), target.split(parts, -1), strict=True)
    return th.stack([-(p.log_softmax(-1) * t).sum(-1) for p, t in pairs]).sum(0)
