"""Networks of PlaNet and the first two Dreamers: plain layers, the 64x64 CNN of World Models."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.fast import one_hots
from dreamzoo.nn.fast.dense import Dense, is_worth
from dreamzoo.nn.fast.elus import elu_
from dreamzoo.nn.fast.pieces import by_images, by_rows
from dreamzoo.nn.fast.precision import current
from dreamzoo.nn.fast.products import linear, wide
from dreamzoo.nn.fast.ranks import mean_of_all
from dreamzoo.nn.fast.scalars import Twice
from dreamzoo.nn.fast.switch import computes_plainly
from dreamzoo.nn.networks.decoders import reconstruction_loss
from dreamzoo.nn.networks.grids import GridDecoders, GridEncoders, Style, pictures
from dreamzoo.nn.networks.layers import Conv2d, ConvTranspose2d
from dreamzoo.nn.observations import Key, ObservationCodec


class ELU(nn.ELU):
    """torch's ELU in place, fast on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return elu_(x)


Activation = Literal["relu", "elu"]
#: In place, as no layer before them asks for what it returned: half of the memory to write.
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "elu": ELU}

#: Height and width of the images that the CNN reads and writes.
IMAGE_SIZE = (64, 64)
#: Pixels of an image after the encoder's four convolutions: 2 x 2 of 8 x depth channels.
_CODE = 32
_UP_KERNELS = (5, 5, 6, 6)
#: Pixels of the largest feature map, of ``depth`` channels, in encoder and decoder, about.
_LARGEST = 31 * 31


def _glorot_(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Initialize as TensorFlow does: Glorot-uniform kernels, zero biases."""
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


class GlorotLinear(nn.Linear):
    """
    Fully connected layer with TensorFlow's initialization.

    :param in_dim: inputs
    :param out_dim: outputs
    """

    #: Inputs that are one-hot vectors as a rule, which makes the layer faster; None: no such.
    ones: slice | None = None

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim)
        _glorot_(self)

    def forward(self, x: Tensor) -> Tensor:
        if self.ones is None:
            if current() != "bf16" or computes_plainly():
                return super().forward(x)
            rows = linear(x.flatten(0, -2), self.weight, self.bias)
            return rows.view(*x.shape[:-1], -1)
        return one_hots.linear(x, self.weight, self.bias, self.ones)


def expect_one_hots(ones: slice, *networks: nn.Module) -> None:
    """
    Tell first layers which of their inputs are one-hot vectors; what they compute stays the same.

    :param ones: these inputs
    :param networks: in each of which one layer reads them, the first
    """
    for network in networks:
        first = next(layer for layer in network.modules() if isinstance(layer, GlorotLinear))
        first.ones = ones


class Stack(nn.Sequential):
    """Fully connected layers, each with its activation."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self) if is_worth(x) else []
        if not layers or not isinstance(layers[1], ELU):
            return super().forward(x)
        rows = x.flatten(0, -2)
        if layers[0].ones is not None:  # of these few columns are summed
            first, layers = layers[:2], layers[2:]
            rows = first[1](first[0](rows))
        weights = [w for layer in layers[::2] for w in (layer.weight, layer.bias)]
        return (Dense.apply(rows, *weights) if weights else rows).view(*x.shape[:-1], -1)


def glorot_mlp(in_dim: int, widths: Sequence[int], activation: Activation = "relu") -> Stack:
    """
    Stack fully connected layers, each with its activation.

    :param in_dim: inputs
    :param widths: width of every layer
    :param activation: after every layer
    """
    layers: list[nn.Module] = []
    for i, o in pairwise([in_dim, *widths]):
        layers += [GlorotLinear(i, o), _ACTIVATIONS[activation](inplace=True)]
    return Stack(*layers)


class GrowPixel(ConvTranspose2d):
    """
    Transposed convolution of a single pixel, (N, I, 1, 1) to (N, O, kernel, kernel).

    It is a matrix product, and on a CPU computed as one: torch's convolution takes longer there.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not x.is_cpu or computes_plainly() or current() == "bf16":
            return super().forward(x, output_size)
        assert self.bias is not None
        bias = self.bias.repeat_interleave(self.weight[0, 0].numel())
        pixels = th.addmm(bias, x.flatten(1), self.weight.flatten(1))
        return pixels.view(-1, *self.weight.shape[1:])


def resize_images(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """
    Resize images by averaging over areas; those of that size stay as they are.

    :param images: (N, C, H, W)
    :param size: height and width
    """
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, list(size), mode="area")


def _grid_style(activation: Activation) -> Style:
    return Style(_glorot_, lambda _: _ACTIVATIONS[activation](inplace=True))


def _count_channels(keys: list[Key]) -> int:
    return sum(key.shape[0] for key in keys)


class WorldModelsEncoder(nn.Module):
    """
    Encode images by four convolutions of kernel 4 and stride 2, and all else by an MLP.

    The CNN is that of World Models (Ha and Schmidhuber), as PlaNet, Dreamer V1 and V2 use it. The
    papers learn from images of 64x64 alone; others are resized to it, and vectors are read as they
    are, by an MLP. Images of less than 36 pixels are not resized: they have a CNN of their own, see
    :mod:`dreamzoo.nn.networks.grids`, and behind it an MLP as vectors have. Without it, and one in
    the decoder, latents told where things were and not that two of them met, so that no end of an
    episode was foreseen.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from dreamzoo.nn.networks.world_models import WorldModelsEncoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Box(0, 255, (3, 64, 64), np.uint8))
        >>> encoder = WorldModelsEncoder(codec, depth=2)
        >>> encoder(codec.encode(torch.zeros(4, 3, 64, 64))).shape  # 2 * 2 pixels of 16 channels
        torch.Size([4, 64])

    :param codec: says which keys there are
    :param depth: channels of the first convolution, doubled by every further one
    :param units: width of the MLPs' layers
    :param cnn_activation: after every convolution
    :param activation: after every layer of the MLPs
    :param mlp_layers: of each MLP (DreamerV2's code: 4)
    """

    def __init__(
        self,
        codec: ObservationCodec,
        depth: int = 32,
        units: int = 200,
        cnn_activation: Activation = "relu",
        activation: Activation = "relu",
        mlp_layers: int = 2,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.features_dim = 0
        self.largest = _LARGEST * depth
        self.cnn: nn.Sequential | None = None
        self.mlp: nn.Sequential | None = None
        self.pictures = pictures(codec.image_keys)
        self.grids = GridEncoders(codec.image_keys, depth, _grid_style(cnn_activation))
        self.grid_mlp: nn.Sequential | None = None
        if self.grids.keys:
            self.grid_mlp = glorot_mlp(self.grids.features_dim, [units] * mlp_layers, activation)
            self.features_dim += units
        if self.pictures:
            channels = [_count_channels(self.pictures), *(depth * 2**i for i in range(4))]
            layers: list[nn.Module] = []
            for i, o in pairwise(channels):
                layers += [Conv2d(i, o, 4, stride=2), _ACTIVATIONS[cnn_activation](inplace=True)]
                _glorot_(layers[-2])  # type: ignore[arg-type]
            self.cnn = nn.Sequential(*layers, nn.Flatten())
            self.features_dim += _CODE * depth
        if codec.flat_keys:
            width = sum(key.width for key in codec.flat_keys)
            self.mlp = glorot_mlp(width, [units] * mlp_layers, activation)
            self.features_dim += units

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """
        Encode network inputs.

        :param inputs: one tensor for every key, (N, ...); images around zero
        :return: tokens, (N, features_dim)
        """
        tokens = []
        if self.cnn is not None:
            images = [resize_images(inputs[key.name], IMAGE_SIZE) for key in self.pictures]
            stack = th.cat(images, dim=1).contiguous(memory_format=th.channels_last)  # faster
            tokens.append(wide(by_images(self.cnn, self.largest, stack)))
        if self.grid_mlp is not None:
            # Cells from 0 to 1: so an empty one is as what pads the borders.
            cells = self.grids({key.name: inputs[key.name] + 0.5 for key in self.grids.keys})
            tokens.append(self.grid_mlp(cells))
        if self.mlp is not None:
            flat = th.cat([inputs[key.name] for key in self.codec.flat_keys], dim=-1)
            tokens.append(self.mlp(flat))
        return th.cat(tokens, dim=-1)


class WorldModelsDecoder(nn.Module):
    """
    Mirror of :class:`WorldModelsEncoder`: means of normal distributions of unit variance.

    An MLP leads to vectors, and one of the same layers to the CNN of small images.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from dreamzoo.nn.networks.world_models import WorldModelsDecoder
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Box(0, 255, (3, 64, 64), np.uint8))
        >>> decoder = WorldModelsDecoder(codec, feat_dim=20, depth=2)
        >>> decoder(torch.zeros(4, 20))["observation"].shape
        torch.Size([4, 3, 64, 64])

    :param codec: says which keys there are
    :param feat_dim: width F of the features
    :param depth: as the encoder's
    :param units: as the encoder's
    :param cnn_activation: after every convolution but the last
    :param activation: after every layer of the MLPs
    :param mlp_layers: as the encoder's
    """

    def __init__(
        self,
        codec: ObservationCodec,
        feat_dim: int,
        depth: int = 32,
        units: int = 200,
        cnn_activation: Activation = "relu",
        activation: Activation = "relu",
        mlp_layers: int = 2,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.largest = _LARGEST * depth
        self.cnn: nn.Sequential | None = None
        self.mlp: nn.Sequential | None = None
        self.pictures = pictures(codec.image_keys)

        def mlp(width: int) -> nn.Sequential:
            hidden = glorot_mlp(feat_dim, [units] * mlp_layers, activation)
            return nn.Sequential(*hidden, GlorotLinear(units, width))

        self.grids = GridDecoders(codec.image_keys, depth, _grid_style(cnn_activation), mlp)
        if self.pictures:
            code = _CODE * depth
            outs = [code, 4 * depth, 2 * depth, depth, _count_channels(self.pictures)]
            layers: list[nn.Module] = [GlorotLinear(feat_dim, code), nn.Unflatten(1, (code, 1, 1))]
            for (i, o), kernel in zip(pairwise(outs), _UP_KERNELS, strict=True):
                grow = GrowPixel if i == code else ConvTranspose2d
                layers += [grow(i, o, kernel, stride=2)]
                _glorot_(layers[-1])  # type: ignore[arg-type]
                layers += [_ACTIVATIONS[cnn_activation](inplace=True)]
            self.cnn = nn.Sequential(*layers[:-1])
        if codec.flat_keys:
            self.mlp = mlp(sum(key.width for key in codec.flat_keys))

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """
        Predict every key.

        :param feat: model states, (N, F)
        :return: raw predictions of every key: means of images and vectors, logits of the rest
        """
        predictions: dict[str, Tensor] = {}
        if self.cnn is not None:
            images = wide(by_images(self.cnn, self.largest, feat))
            parts = images.split([key.shape[0] for key in self.pictures], dim=1)
            predictions |= {key.name: x for key, x in zip(self.pictures, parts, strict=True)}
        predictions |= self.grids(feat)
        if self.mlp is not None:
            keys = self.codec.flat_keys
            parts = self.mlp(feat).split([key.width for key in keys], dim=1)
            predictions |= {key.name: part for key, part in zip(keys, parts, strict=True)}
        return predictions

    @th.no_grad()
    def start_at(self, targets: dict[str, Tensor]) -> None:
        """
        Let the last biases of images be mean colors (of all ranks), unless they have learned.

        From zero it takes some hundred updates until a bright or dark ground is predicted, and all
        that leads to the decoder moves that way meanwhile: categories become certain, the same ones
        in all states, and stay so.

        :param targets: what the encoder reads, (N, ...) each
        """
        last: list[tuple[Any, Sequence[Key]]]
        last = [] if self.cnn is None else [(self.cnn[-1], self.pictures)]
        grids: Any = zip(self.grids.nets, self.grids.groups, strict=True)
        for layer, keys in [*last, *((net.layers[-1], group) for net, group in grids)]:
            if not layer.bias.any():
                mean = th.cat([targets[key.name].mean((0, 2, 3)) for key in keys])
                layer.bias.copy_(mean_of_all(mean))

    def loss(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """
        Compute the negative log-likelihood of every key but for its constant, (N,) each.

        :param predictions: what :meth:`forward` returns
        :param targets: what the encoder read
        """
        losses = {}
        for key in self.codec.keys:
            prediction, target = predictions[key.name], targets[key.name]
            if key.kind == "image":
                target = resize_images(target, tuple(prediction.shape[-2:]))
                losses[key.name] = unit_variance_loss(prediction, target).flatten(1).sum(1)
            elif key.kind == "vector":
                losses[key.name] = unit_variance_loss(prediction, target).sum(1)
            else:
                losses[key.name] = reconstruction_loss(key, prediction, target)
        return losses

    def most_likely(self, predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn raw predictions into values in the form that the encoder reads."""
        values = dict(predictions)
        for key in self.codec.keys:
            if key.kind == "image":
                values[key.name] = resize_images(values[key.name], key.shape[1:])
            elif key.kind == "binary":
                values[key.name] = th.sigmoid(values[key.name])
        return values


def unit_variance_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood under a normal of unit variance, without ``log(2 pi) / 2``."""
    return 0.5 * (prediction - target).square()


class NormalHead(nn.Module):
    """
    Predict a scalar as the mean of a normal distribution of unit variance.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.networks.world_models import NormalHead
        >>> NormalHead(in_dim=20, widths=[8]).mean(torch.zeros(4, 20)).shape
        torch.Size([4])

    :param in_dim: width F of the features
    :param widths: hidden layers
    :param activation: of these
    """

    def __init__(self, in_dim: int, widths: Sequence[int], activation: Activation = "relu") -> None:
        super().__init__()
        self.body = glorot_mlp(in_dim, widths, activation)
        self.out = GlorotLinear([in_dim, *widths][-1], 1)

    def forward(self, feat: Tensor) -> Tensor:
        """Predict the mean, (..., F) to (...)."""
        return self.out(self.body(feat))[..., 0]

    def mean(self, feat: Tensor) -> Tensor:
        """Predict the scalar, (..., F) to (...)."""
        return self(feat)

    def twice(self, feat: Tensor, learned: int | None = None) -> tuple[Tensor, Tensor]:
        """
        Predict the mean once, for two that learn from it.

        :param feat: features, (M, ..., F)
        :param learned: this head learns from the first of them alone, along the first axis; None:
            from all M
        :return: means with the gradient of the features alone, (M, ...), and those that this head
            learns from with its own gradient alone, (learned, ...)
        """
        learned = len(feat) if learned is None else learned
        if not th.is_grad_enabled():
            means = by_rows(lambda rows: self(rows)[:, None], feat)[..., 0]
            return means, means[:learned]
        if computes_plainly() or current() != "fp32" or not feat.is_cpu or not self._has_elus():
            held = {name: p.detach() for name, p in self.named_parameters()}
            means = th.func.functional_call(self, held, feat)
            learns = any(p.requires_grad for p in self.parameters())
            return means, self(feat.detach()[:learned]) if learns else means.detach()[:learned]
        layers = [layer for layer in self.modules() if isinstance(layer, GlorotLinear)]
        weights = [x for layer in layers for x in (layer.weight, layer.bias)]
        rows = feat[:learned].numel() // feat.shape[-1]
        means, own = Twice.apply(feat.flatten(0, -2), rows, layers[0].ones, *weights)
        return means.view(feat.shape[:-1]), own.view(learned, *feat.shape[1:-1])

    def _has_elus(self) -> bool:
        return len(self.body) > 0 and all(isinstance(x, nn.ELU) for x in list(self.body)[1::2])

    def sample(self, feat: Tensor, generator: th.Generator | None = None) -> Tensor:
        """Draw the scalar, (..., F) to (...)."""
        mean = self(feat)
        return mean + th.randn(mean.shape, generator=generator, device=mean.device)


class Endless(nn.Module):
    """A continue head for agents without one: whatever the state, the episode goes on."""

    def forward(self, feat: Tensor) -> Tensor:
        return feat.new_full((*feat.shape[:-1], 1), math.inf)
