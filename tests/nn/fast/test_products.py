"""Products of rounded factors: within bf16's error of the exact ones, and exact elsewhere."""

from collections.abc import Callable

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo.nn import layers
from dreamzoo.nn.decoders import UpConv
from dreamzoo.nn.encoders import Conv, StridedConv
from dreamzoo.nn.fast.precision import has_bf16, using

CPU = th.device("cpu")
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor multiplies no bf16")


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float(((found - exact).norm() / exact.norm()).detach())


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "same": lambda: Conv(8, 12),
    "strided": lambda: StridedConv(8, 12),
    "up": lambda: UpConv(8, 12, (32, 32), "maxpool"),
    "up cropped": lambda: UpConv(8, 12, (31, 31), "maxpool"),
    "up transposed": lambda: UpConv(8, 12, (32, 32), "strided"),
    "plain": lambda: layers.Conv2d(8, 12, 4, stride=2),
    "plain transposed": lambda: layers.ConvTranspose2d(8, 12, 6, stride=2),
}


@needs_bf16
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_round_what_they_read(kind: str) -> None:
    th.manual_seed(0)
    layer, x = CONVOLUTIONS[kind](), th.randn(4, 8, 16, 16, requires_grad=True)
    sources = [x, *layer.parameters()]
    exact = layer(x)
    grads = th.autograd.grad(exact.square().sum(), sources)
    with using("fp32", CPU):
        assert th.equal(layer(x), exact)
    with using("bf16", CPU):
        rounded = layer(x)
        found = th.autograd.grad(rounded.float().square().sum(), sources)
    assert rounded.dtype is th.bfloat16
    assert 1e-4 < relative_error(rounded.float(), exact) < 1e-2
    for grad, other in zip(found, grads, strict=True):
        assert grad.dtype is th.float32
        assert relative_error(grad, other) < 2e-2


@needs_bf16
def test_transposed_convolutions_are_torchs() -> None:
    layer = layers.ConvTranspose2d(3, 5, 5, stride=2, padding=2, output_padding=1)
    x = th.randn(2, 3, 8, 8)
    assert th.equal(layer(x), nn.ConvTranspose2d.forward(layer, x))


@needs_bf16
def test_norms_are_computed_in_float32() -> None:
    norm, x = layers.ChannelRMSNorm(16), th.randn(2, 16, 4, 4)
    with using("bf16", CPU):
        normed = norm(x.bfloat16())
    assert th.equal(normed, norm(x.bfloat16().float()))
