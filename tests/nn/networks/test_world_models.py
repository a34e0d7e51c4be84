"""Parts of the 64x64 CNN that are computed otherwise than they are written."""

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces

from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.networks.world_models import GrowPixel, WorldModelsDecoder
from dreamzoo.nn.observations import ObservationCodec

KEYS: dict[str, spaces.Space] = {
    "front": spaces.Box(0, 255, (3, 64, 64), np.uint8),
    "back": spaces.Box(0, 255, (1, 40, 80), np.uint8),
    "board": spaces.Box(0, 1, (4, 10, 10), np.bool_),
    "map": spaces.Box(0, 255, (1, 10, 10), np.uint8),
    "speed": spaces.Box(-np.inf, np.inf, (2,)),
}


def test_images_begin_at_their_mean_colors_and_nothing_else_does() -> None:
    th.manual_seed(0)
    codec = ObservationCodec(spaces.Dict(KEYS))
    decoder = WorldModelsDecoder(codec, feat_dim=6, depth=2)
    targets = {key.name: th.rand(5, *key.shape) + i for i, key in enumerate(codec.keys)}
    decoder.start_at(targets)
    predicted = decoder(th.zeros(1, 6))  # what biases alone say
    assert not predicted.pop("speed").any()
    for name, image in predicted.items():
        mean = targets[name].mean((0, 2, 3))[:, None, None]
        th.testing.assert_close(image[0], mean.expand_as(image[0]))


def test_images_that_were_learned_are_left_as_they_are() -> None:
    codec = ObservationCodec(KEYS["front"])
    decoder = WorldModelsDecoder(codec, feat_dim=6, depth=2)
    for level in (0.25, -0.5):
        decoder.start_at({"observation": th.full((2, 3, 64, 64), level)})
    th.testing.assert_close(decoder(th.zeros(1, 6))["observation"], th.full((1, 3, 64, 64), 0.25))


def test_a_pixel_grows_as_by_a_transposed_convolution() -> None:
    th.manual_seed(0)
    layer, x = GrowPixel(6, 4, 5, stride=2), th.randn(3, 6, 1, 1, requires_grad=True)
    sources = [x, *layer.parameters()]
    grown = layer(x)
    with use("plain"):
        expected = layer(x)
    assert expected.grad_fn is not None
    assert "Convolution" in type(expected.grad_fn).__name__
    th.testing.assert_close(grown, expected)
    th.testing.assert_close(grown, F.conv_transpose2d(x, layer.weight, layer.bias, stride=2))
    grad = th.randn_like(grown)
    gradients = [th.autograd.grad(result, sources, grad) for result in (grown, expected)]
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other)
