"""Parts of the 64x64 CNN that are computed otherwise than they are written."""

import torch as th
import torch.nn.functional as F

from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.networks.world_models import GrowPixel


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
