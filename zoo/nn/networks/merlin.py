"""Networks of MERLIN: what observations are encoded by, and decoded from a state."""

import math
from collections.abc import Sequence
from typing import Literal

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.networks.decoders import reconstruction_loss
from dreamzoo.nn.networks.grids import GridDecoders, GridEncoders, Style, pictures
from dreamzoo.nn.networks.world_models import IMAGE_SIZE, resize_images
from dreamzoo.nn.observations import ObservationCodec

#: Six bottleneck blocks of a residual network, as in the paper, or three strided convolutions.
ImageNet = Literal["residual", "plain"]

#: Height and width of what images are reduced to by either.
_CODE_SIZE = 8
#: Channels of the residual network, outside and inside of a block (Methods 2.1.1).
_CHANNELS, _INNER = 64, 32
#: Strides of its blocks.
_STRIDES = (2, 1, 2, 1, 2, 1)
#: Channels of the strided convolutions.
_PLAIN = (16, 32, 32)
#: Channels of the first convolution of small images.
_GRID_DEPTH: dict[ImageNet, int] = {"residual": _INNER, "plain": _PLAIN[0]}
_GRID_STYLE = Style(lambda _: None, lambda _: nn.ReLU())


class Bottleneck(nn.Module):
    """
    Residual block of three convolutions, 1x1, 3x3 and 1x1, whose stride is the first one's.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.merlin import Bottleneck
        >>> Bottleneck(3, stride=2)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 64, 32, 32])
        >>> Bottleneck(64, stride=2, grow=True)(torch.zeros(1, 64, 32, 32)).shape
        torch.Size([1, 64, 64, 64])

    :param in_channels: of the input; the output has 64
    :param stride: of the block
    :param grow: transposed convolutions, which make images larger
    """

    def __init__(self, in_channels: int, stride: int, *, grow: bool = False) -> None:
        super().__init__()

        def resize(out_channels: int) -> nn.Module:
            if grow:
                return nn.ConvTranspose2d(
                    in_channels, out_channels, 1, stride, output_padding=stride - 1
                )
            return nn.Conv2d(in_channels, out_channels, 1, stride)

        self.body = nn.Sequential(
            resize(_INNER),
            nn.ReLU(),
            nn.Conv2d(_INNER, _INNER, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_INNER, _CHANNELS, 1),
        )
        same = in_channels == _CHANNELS and stride == 1
        self.shortcut = nn.Identity() if same else resize(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _shrinking(channels: int, kind: ImageNet) -> tuple[list[nn.Module], int]:
    """Return layers from images of 64x64 to a map of 8x8, and that map's channels."""
    if kind == "residual":
        ins = [channels, *[_CHANNELS] * 5]
        return [Bottleneck(i, stride) for i, stride in zip(ins, _STRIDES, strict=True)], _CHANNELS
    layers: list[nn.Module] = []
    for i, o in zip((channels, *_PLAIN), _PLAIN, strict=False):
        layers += [nn.Conv2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
    return layers, _PLAIN[-1]


def _growing(channels: int, kind: ImageNet) -> tuple[list[nn.Module], int]:
    """Return layers from a map of 8x8 to logits of images of 64x64, and that map's channels."""
    if kind == "residual":
        blocks = [Bottleneck(_CHANNELS, stride, grow=True) for stride in reversed(_STRIDES)]
        return [*blocks, nn.ConvTranspose2d(_CHANNELS, channels, 1)], _CHANNELS
    layers: list[nn.Module] = []
    outs = (*_PLAIN[-2::-1], channels)
    for i, o in zip((_PLAIN[-1], *outs), outs, strict=False):
        layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
    return layers[:-1], _PLAIN[-1]


class MerlinEncoder(nn.Module):
    """
    Encode images by a convolutional network and a layer of tanh, all else by layers of ReLU.

    Images are resized to 64x64; those of less than 36 pixels are read as they are by a network of
    their own, see :mod:`dreamzoo.nn.networks.grids`.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.merlin import MerlinEncoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Discrete(5))
        >>> encoder = MerlinEncoder(codec, widths=[8])
        >>> encoder(codec.encode(torch.tensor([3]))).shape
        torch.Size([1, 8])

    :param codec: says which keys there are
    :param widths: layers for vectors, integers and binaries side by side
    :param image_net: of images
    :param image_features: width of their code
    """

    def __init__(
        self,
        codec: ObservationCodec,
        widths: Sequence[int] = (64, 64),
        image_net: ImageNet = "plain",
        image_features: int = 128,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.features_dim = 0
        self.cnn: nn.Sequential | None = None
        self.mlp: nn.Sequential | None = None
        self.grid_out: nn.Sequential | None = None
        self.pictures = pictures(codec.image_keys)
        self.grids = GridEncoders(codec.image_keys, _GRID_DEPTH[image_net], _GRID_STYLE)
        if self.grids.keys:
            code = nn.Linear(self.grids.features_dim, image_features)
            self.grid_out = nn.Sequential(code, nn.Tanh())
            self.features_dim += image_features
        if self.pictures:
            channels = sum(key.shape[0] for key in self.pictures)
            layers, last = _shrinking(channels, image_net)
            flat = nn.Linear(last * _CODE_SIZE**2, image_features)
            self.cnn = nn.Sequential(*layers, nn.Flatten(), flat, nn.Tanh())
            self.features_dim += image_features
        if codec.flat_keys:
            width = sum(key.width for key in codec.flat_keys)
            self.mlp = relu_mlp(width, widths)
            self.features_dim += widths[-1] if widths else width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """
        Encode network inputs.

        :param inputs: one tensor for every key, (N, ...); images in [0, 1]
        :return: tokens, (N, features_dim)
        """
        tokens = []
        if self.cnn is not None:
            images = [resize_images(inputs[key.name], IMAGE_SIZE) for key in self.pictures]
            tokens.append(self.cnn(th.cat(images, dim=1)))
        if self.grid_out is not None:
            tokens.append(self.grid_out(self.grids(inputs)))
        if self.mlp is not None:
            flat = [inputs[key.name] for key in self.codec.flat_keys]
            tokens.append(self.mlp(th.cat(flat, dim=-1)))
        return th.cat(tokens, dim=-1)


class MerlinDecoder(nn.Module):
    """
    Decode every key from z: images by the mirror of their encoder, all else by one layer.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.merlin import MerlinDecoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> decoder = MerlinDecoder(ObservationCodec(spaces.Discrete(5)), feat_dim=3)
        >>> decoder(torch.zeros(2, 3))["observation"].shape  # logits
        torch.Size([2, 5])

    :param codec: says which keys there are
    :param feat_dim: width Z of a state
    :param image_net: as the encoder's
    :param image_features: as the encoder's
    """

    def __init__(
        self,
        codec: ObservationCodec,
        feat_dim: int,
        image_net: ImageNet = "plain",
        image_features: int = 128,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.cnn: nn.Sequential | None = None
        self.flat: nn.Linear | None = None

        def seed(code: int) -> nn.Sequential:
            hidden = nn.Linear(feat_dim, image_features)
            return nn.Sequential(hidden, nn.ReLU(), nn.Linear(image_features, code))

        self.pictures = pictures(codec.image_keys)
        depth = _GRID_DEPTH[image_net]
        self.grids = GridDecoders(codec.image_keys, depth, _GRID_STYLE, seed)
        if self.pictures:
            channels = sum(key.shape[0] for key in self.pictures)
            layers, first = _growing(channels, image_net)
            shape = first, _CODE_SIZE, _CODE_SIZE
            code = first * _CODE_SIZE**2
            self.cnn = nn.Sequential(*seed(code), nn.ReLU(), nn.Unflatten(1, shape), *layers)
        if codec.flat_keys:
            self.flat = nn.Linear(feat_dim, sum(key.width for key in codec.flat_keys))

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """
        Predict every key.

        :param feat: states, (N, F)
        :return: raw predictions of every key: means of vectors, logits of all else
        """
        predictions: dict[str, Tensor] = {}
        if self.cnn is not None:
            parts = self.cnn(feat).split([key.shape[0] for key in self.pictures], dim=1)
            predictions |= {key.name: x for key, x in zip(self.pictures, parts, strict=True)}
        predictions |= self.grids(feat)
        if self.flat is not None:
            keys = self.codec.flat_keys
            parts = self.flat(feat).split([key.width for key in keys], dim=1)
            predictions |= {key.name: part for key, part in zip(keys, parts, strict=True)}
        return predictions

    def loss(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """
        Compute the loss of every key, summed over its numbers, (N,) each (eq. 7).

        Cross-entropy of pixels, integers and binaries; half the squared error of vectors.

        :param predictions: what :meth:`forward` returns
        :param targets: what the encoder read
        """
        losses = {}
        for key in self.codec.keys:
            prediction, target = predictions[key.name], targets[key.name]
            if key.kind == "image":
                losses[key.name] = _sum_over_pixels(prediction, target)
            elif key.kind == "vector":
                losses[key.name] = 0.5 * (prediction - target).square().sum(-1)
            else:
                losses[key.name] = reconstruction_loss(key, prediction, target)
        return losses

    def most_likely(self, predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn raw predictions into values in the form that the encoder reads."""
        values = dict(predictions)
        for key in self.codec.keys:
            if key.kind == "image":
                values[key.name] = resize_images(th.sigmoid(values[key.name]), key.shape[1:])
            elif key.kind == "binary":
                values[key.name] = th.sigmoid(values[key.name])
        return values


def _sum_over_pixels(prediction: Tensor, target: Tensor) -> Tensor:
    """
    Sum the cross-entropy of images of 64x64, the size that the paper's weights belong to.

    Small images are predicted as they are; what they add up to counts as if each of their pixels
    had been as many as it takes to make 64x64.

    :param prediction: logits, (N, C, H, W)
    :param target: the same, or larger images that are resized to it
    :return: (N,)
    """
    size = tuple(prediction.shape[-2:])
    total = _cross_entropy(prediction, resize_images(target, size)).flatten(1).sum(1)
    return total if size == IMAGE_SIZE else total * (math.prod(IMAGE_SIZE) / math.prod(size))


def _cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(prediction, target, reduction="none")


def relu_mlp(in_dim: int, widths: Sequence[int]) -> nn.Sequential:
    """
    Stack fully connected layers, each with a ReLU.

    :param in_dim: inputs
    :param widths: width of every layer
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(in_dim, width), nn.ReLU()]
        in_dim = width
    return nn.Sequential(*layers)
