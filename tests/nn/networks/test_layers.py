"""Layers: initial deviations, norms, block-diagonal products, row-wise evaluation."""

import math
import weakref
from typing import Any

import pytest
import torch as th
import torch.nn.functional as F
from torch import nn

from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.fast import pieces
from dreamzoo.nn.fast.pieces import by_rows
from dreamzoo.nn.networks.decoders import ImageDecoder, UpConv
from dreamzoo.nn.networks.encoders import Conv, ImageEncoder
from dreamzoo.nn.networks.heads import Head
from dreamzoo.nn.networks.layers import (
    MLP,
    BlockLinear,
    ChannelRMSNorm,
    DenseBlock,
    Linear,
    RMSNorm,
    init_trunc_normal_,
)
from tests.nn.widths import of_image_decoder


def test_rms_norm_vector() -> None:
    """Appendix A8: no shift, epsilon 1e-4 inside the root."""
    out = RMSNorm(4)(th.tensor([1.0, 2.0, 3.0, 4.0]))
    expected = th.tensor([0.365146, 0.730292, 1.095438, 1.460584])
    th.testing.assert_close(out, expected, atol=1e-6, rtol=0)
    tiny = RMSNorm(4)(th.full((4,), 1e-2))
    th.testing.assert_close(tiny, th.full((4,), 1e-2 / math.sqrt(2e-4)))


def test_channel_norm_is_the_norm_of_every_pixel_over_channels() -> None:
    norm, channel_norm = RMSNorm(6), ChannelRMSNorm(6)
    weight = th.randn(6, generator=th.Generator().manual_seed(0))
    for module in (norm, channel_norm):
        module.weight.data.copy_(weight)
    x = th.randn(2, 6, 3, 5, generator=th.Generator().manual_seed(1))
    expected = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    th.testing.assert_close(channel_norm(x), expected)


@pytest.mark.parametrize("outscale", [1.0, 0.01, 0.0])
def test_initial_weights_are_truncated_at_two_deviations(outscale: float) -> None:
    """``a`` and ``b`` of torch's function are absolute: +-2 there would not truncate at all."""
    th.manual_seed(0)
    weight = th.empty(400, 400)
    init_trunc_normal_(weight, 400, outscale)
    expected = outscale / math.sqrt(400)
    assert float(weight.std()) == pytest.approx(expected, rel=0.02)
    assert float(weight.abs().max()) <= 2 * 1.1368 * expected


def test_hidden_layer_is_linear_with_bias_then_norm_then_silu() -> None:
    block = DenseBlock(3, 5)
    block.linear.bias.data.normal_(generator=th.Generator().manual_seed(0))
    x = th.randn(7, 3)
    y = x @ block.linear.weight.t() + block.linear.bias
    y = y / (y.square().mean(-1, keepdim=True) + 1e-4).sqrt() * block.norm.weight
    th.testing.assert_close(block(x), y * th.sigmoid(y))


def test_biases_start_at_zero_and_norm_scales_at_one() -> None:
    modules = [Linear(3, 4), DenseBlock(3, 4), BlockLinear(4, 8, 2), Conv(2, 3), MLP(3, [4, 5])]
    for name, p in nn.ModuleList(modules).named_parameters():
        if name.endswith("bias"):
            assert not p.any(), name
        if "norm" in name:
            assert (p == 1).all(), name


def test_zero_outscale_gives_exactly_zero() -> None:
    """Pitfall 16: any other start of a two-hot head predicts +-1e5 to 1e7."""
    head = Head(6, 255, [8], outscale=0.0)
    assert th.equal(head(th.randn(4, 6)), th.zeros(4, 255))


@pytest.mark.parametrize("lead", [(), (3,), (2, 5)])
def test_block_linear_equals_a_loop_over_blocks(lead: tuple[int, ...]) -> None:
    layer = BlockLinear(12, 20, 4)
    layer.bias.data.normal_(generator=th.Generator().manual_seed(0))
    x = th.randn(*lead, 12, generator=th.Generator().manual_seed(1))
    parts = [x[..., 3 * k : 3 * k + 3] @ layer.weight[k] for k in range(4)]
    th.testing.assert_close(layer(x), th.cat(parts, -1) + layer.bias)


def test_block_linear_counts_the_full_input_as_fan_in() -> None:
    """Otherwise the weights would be sqrt(8) times larger."""
    th.manual_seed(0)
    assert float(BlockLinear(2048, 512, 8).weight.detach().std()) == pytest.approx(
        2048**-0.5, rel=0.02
    )


def test_block_linear_refuses_widths_that_do_not_split() -> None:
    with pytest.raises(ValueError, match="do not split"):
        BlockLinear(10, 8, 4)


def test_convolution_counts_kernel_times_channels_as_fan_in() -> None:
    th.manual_seed(0)
    assert float(Conv(16, 64).weight.detach().std()) == pytest.approx((25 * 16) ** -0.5, rel=0.03)


@pytest.mark.parametrize("rows", [1, 511, 512, 513, 1100])
def test_by_rows_equals_the_whole_at_once_and_has_its_gradient(rows: int) -> None:
    layer = Linear(4, 3).double()
    x = th.randn(rows, 2, 4, dtype=th.float64, requires_grad=True)
    with th.no_grad():
        pieces = by_rows(layer, x)
    out = by_rows(layer, x)
    assert not pieces.requires_grad
    th.testing.assert_close(pieces, layer(x).detach())
    th.testing.assert_close(out, layer(x))
    (gradient,) = th.autograd.grad(out.sum(), x)
    th.testing.assert_close(gradient, layer.weight.sum(0).expand(x.shape).detach())


def test_by_rows_keeps_leading_axes_of_scalar_functions() -> None:
    assert by_rows(lambda r: r.sum(-1), th.ones(3, 5, 4)).shape == (3, 5)


@pytest.mark.parametrize("resolution", [(8, 12), (7, 12), (8, 11)])
def test_growing_images_repeats_pixels_and_convolves(resolution: tuple[int, int]) -> None:
    """The sums over 3x3 pixels and the 5x5 convolution that they stand for, with gradients."""
    layer = UpConv(3, 5, resolution, "maxpool").double()
    nn.init.normal_(layer.conv.bias)
    x = th.randn(2, 3, 4, 6, dtype=th.float64, requires_grad=True)
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    plain = layer.conv(repeated[..., : resolution[0], : resolution[1]])
    weight = th.randn(plain.shape, dtype=th.float64)
    inputs = [x, *layer.parameters()]
    expected = th.autograd.grad((weight * plain).sum(), inputs)
    out = layer(x)
    th.testing.assert_close(out, plain, rtol=1e-10, atol=1e-10)
    th.testing.assert_close(th.autograd.grad((weight * out).sum(), inputs), expected)


@pytest.mark.parametrize("kind", ["maxpool", "strided"])
def test_images_in_pieces_equal_the_whole_batch(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients of encoder and decoder, for pieces that do not divide the batch."""
    size = SIZES["debug"]
    encoder, decoder = (
        ImageEncoder(3, 36, 40, size.cnn_depth, kind),
        ImageDecoder(3, 36, 40, **of_image_decoder(size), kind=kind),
    )
    encoder, decoder = encoder.double(), decoder.double()
    images = th.rand(7, 3, 36, 40, dtype=th.float64)
    states = [th.randn(7, n, dtype=th.float64) for n in (size.deter, size.stoch * size.classes)]

    def run() -> tuple[list[th.Tensor], list[int]]:
        seen: list[int] = []
        hooks = [
            net.layers.register_forward_hook(lambda _m, x, _y: seen.append(len(x[0])))
            for net in (encoder, decoder)
        ]
        parameters = [*encoder.parameters(), *decoder.parameters()]
        outputs = [encoder(images), decoder(*states)]
        loss = th.stack([x.square().sum() for x in outputs]).sum()
        for hook in hooks:
            hook.remove()
        return [*outputs, *th.autograd.grad(loss, parameters)], seen

    whole, at_once = run()
    largest = max(encoder.largest, decoder.largest)
    monkeypatch.setattr(pieces, "CACHED_ACTIVATION", 3 * largest)
    parts, in_turn = run()
    assert at_once == [7, 7]
    assert len(in_turn) >= 2 * 2
    assert sum(in_turn) == 2 * 7
    for one, other in zip(whole, parts, strict=True):
        th.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (36, 40)])
def test_encoder_normalizes_after_pooling(height: int, width: int) -> None:
    """Convolution, pool, norm, activation: with the norm first, the numbers differ."""
    th.manual_seed(0)
    encoder = ImageEncoder(3, height, width, depth=2)
    images = th.rand(2, 3, height, width)
    x = images - 0.5
    convs = [m for m in encoder.layers if isinstance(m, Conv)]
    norms = [m for m in encoder.layers if isinstance(m, ChannelRMSNorm)]
    assert [c.out_channels for c in convs] == [4, 6, 8, 8]
    for conv, norm in zip(convs, norms, strict=True):
        x = F.conv2d(F.pad(x, (2, 2, 2, 2)), conv.weight, conv.bias)
        x = F.max_pool2d(x, 2, ceil_mode=True)
        scale = (x.square().mean(1, keepdim=True) + 1e-4).rsqrt()
        x = F.silu(x * scale * norm.weight[:, None, None])
    th.testing.assert_close(encoder(images), x.flatten(1))


@pytest.mark.parametrize("rows", [1, 5, 1100])
def test_hand_written_gradients_of_a_stack_equal_those_of_autograd(rows: int) -> None:
    """1,100 rows are evaluated in three pieces."""
    stack = MLP(4, [6, 5]).double()
    for p in stack.parameters():
        p.data.copy_(th.randn(p.shape, dtype=th.float64))
    x = th.randn(rows, 4, dtype=th.float64, requires_grad=True)
    noise = th.randn(rows, 5, dtype=th.float64)
    tensors = [x, *stack.parameters()]
    fast, slow = stack(x), nn.Sequential(*stack)(x)
    th.testing.assert_close(fast, slow)
    for one, other in zip(
        th.autograd.grad((fast * noise).sum(), tensors),
        th.autograd.grad((slow * noise).sum(), tensors),
        strict=True,
    ):
        th.testing.assert_close(one, other)


def test_a_stack_is_freed_with_its_result() -> None:
    """A tape that held the result, whose history holds the tape, would never be freed."""
    stack = MLP(4, [6, 5])
    tape = stack.tape(2)
    tape.forward(th.randn(2, 4))
    freed = weakref.ref(tape)
    out = stack.attach(tape)
    out.sum().backward()
    del tape
    assert freed() is not None
    del out
    assert freed() is None


def test_a_stack_gives_the_same_with_and_without_gradient() -> None:
    stack = MLP(4, [6, 5])
    x = th.randn(2, 3, 4)
    with th.no_grad():
        plain = stack(x)
    th.testing.assert_close(stack(x), plain)
    assert th.autograd.gradcheck(MLP(3, [2]).double(), th.randn(4, 3).double().requires_grad_())
