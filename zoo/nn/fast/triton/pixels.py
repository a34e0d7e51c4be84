"""Both ends of a CNN in Triton: images to the first activation, and the last one to images."""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamzoo.nn.fast.triton.images import normed_silu, normed_silu_back, rows_of
from dreamzoo.nn.fast.triton.kernels import launch, share_out, tile

#: Side of the first convolution's kernel.
SIDE = tl.constexpr(5)
#: Side of what four neighbors see together.
SEEN = tl.constexpr(6)
#: Most channels of images that the first stage takes.
CHANNELS = 7


@triton.jit
def _patches(
    images: tl.tensor,
    row: tl.tensor,
    seen: tl.tensor,
    known: tl.tensor,
    channels: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
) -> tl.tensor:
    """
    Read what the kernels around four pixels that are pooled see, [0, 1] as [-0.5, 0.5].

    :param row: pooled pixels, (P, 1)
    :param seen: (channel, line, column) of what they see together, (1, S)
    :return: zero outside of the image, (P, S)
    """
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    pooled_line = row // small
    image = (pooled_line // lines).to(tl.int64)
    channel, inner = seen // (SEEN * SEEN), seen % (SEEN * SEEN)
    y = pooled_line % lines * 2 + inner // SEEN - SIDE // 2
    z = row % small * 2 + inner % SEEN - SIDE // 2
    inside = known & (channel < channels) & (y >= 0) & (y < height) & (z >= 0) & (z < across)
    place = image * (channels * height * across) + (channel * height + y) * across + z
    return tl.load(images + place, inside, 0.5) - 0.5


@triton.jit
def _product(x: tl.tensor, y: tl.tensor, into: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    if precision == "bf16":
        into = tl.dot(x.to(tl.bfloat16), y.to(tl.bfloat16), into)
    else:
        into = tl.dot(x, y, into, input_precision=precision)
    return into


@triton.jit
def _first_stage_kernel(
    images: tl.tensor,
    kernel: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    pooled: tl.tensor,
    index: tl.tensor,
    rows: tl.tensor,
    channels: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
    width: tl.constexpr,
    precision: tl.constexpr,
    tall: tl.constexpr,
    views: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.arange(0, columns)[None, :]
    known = row < rows
    seen = _patches(images, row, tl.arange(0, views)[None, :], known, channels, height, across)
    view = tl.arange(0, views)[:, None]
    channel, inner = view // (SEEN * SEEN), view % (SEEN * SEEN)
    best = tl.zeros((tall, columns), tl.float32) - float("inf")
    chosen = tl.zeros((tall, columns), tl.int32)
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    for corner in tl.static_range(4):
        y, z = inner // SEEN - corner // 2, inner % SEEN - corner % 2  # in the corner's kernel
        weighs = (channel < channels) & (y >= 0) & (y < SIDE) & (z >= 0) & (z < SIDE)
        place = ((column * channels + channel) * SIDE + y) * SIDE + z
        weight = tl.load(kernel + place, weighs & (column < width), 0.0)
        v = _product(seen, weight, tl.zeros((tall, columns), tl.float32), precision)
        exists = (row // small % lines * 2 + corner // 2 < height) & (
            row % small * 2 + corner % 2 < across
        )
        better = ((v > best) | (v != v)) & exists
        best = tl.where(better, v, best)
        chosen = tl.where(better, corner, chosen)
    inside = known & (column < width)
    place = row.to(tl.int64) * width + column
    tl.store(pooled + place, best, inside)
    tl.store(index + place, chosen.to(tl.int8), inside)
    v = tl.where(inside, best + tl.load(bias + column, column < width, 0.0), 0.0)
    result = normed_silu(v, tl.load(scale + column, column < width, 0.0), width)
    tl.store(out + place, result, inside)


@triton.jit
def _first_stage_backward_kernel(
    images: tl.tensor,
    pooled: tl.tensor,
    index: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    grad: tl.tensor,
    products: tl.tensor,
    sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
    width: tl.constexpr,
    precision: tl.constexpr,
    turns: tl.constexpr,
    together: tl.constexpr,
    tall: tl.constexpr,
    views: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part, corner = tl.program_id(0), tl.program_id(1)
    column = tl.arange(0, columns)[None, :]
    weight = tl.load(scale + column, column < width, 0.0)
    shift = tl.load(bias + column, column < width, 0.0)
    first = tl.zeros((views, columns), tl.float32)
    second, third, fourth = first, first, first
    to_scale = tl.zeros((columns,), tl.float32)
    to_bias = tl.zeros((columns,), tl.float32)
    for turn in range(turns):
        row = (part * turns + turn) * tall + tl.arange(0, tall)[:, None]
        known = row < rows
        inside = known & (column < width)
        place = row.to(tl.int64) * width + column
        v = tl.load(pooled + place, inside, 0.0).to(tl.float32) + shift
        chosen = tl.load(index + place, inside, 0).to(tl.int32)
        into = tl.load(grad + place, inside, 0.0).to(tl.float32)
        result, for_scale = normed_silu_back(v, weight, into, width)
        seen = tl.trans(
            _patches(images, row, tl.arange(0, views)[None, :], known, channels, height, across)
        )
        if together:
            first = _product(seen, tl.where(chosen == 0, result, 0.0), first, precision)
            second = _product(seen, tl.where(chosen == 1, result, 0.0), second, precision)
            third = _product(seen, tl.where(chosen == 2, result, 0.0), third, precision)
            fourth = _product(seen, tl.where(chosen == 3, result, 0.0), fourth, precision)
        else:
            first = _product(seen, tl.where(chosen == corner, result, 0.0), first, precision)
        to_scale += tl.sum(for_scale, 0)
        to_bias += tl.sum(result, 0)
    used: tl.constexpr = channels * SEEN * SEEN
    view = tl.arange(0, views)[:, None]
    inside = (view < used) & (column < width)
    place = products + (part * 4 + corner) * (used * width) + view * width + column
    tl.store(place, first, inside)
    if together:
        tl.store(place + used * width, second, inside)
        tl.store(place + 2 * used * width, third, inside)
        tl.store(place + 3 * used * width, fourth, inside)
    if corner == 0:
        target, one = sums + part * (2 * width), tl.arange(0, columns)
        tl.store(target + one, to_scale, one < width)
        tl.store(target + width + one, to_bias, one < width)


class FirstStage(th.autograd.Function):
    """
    5x5 convolution of images, 2x2 max-pool, RMS norm over channels and SiLU.

    The convolution's result, by far the largest activation of a CNN, never reaches memory, nor
    does its gradient. Few channels are what cuDNN is slowest with. Four pixels that are pooled see
    6x6 pixels together: these are read once.

    Arguments: images in [0, 1] (N, C, H, W), read as [-0.5, 0.5], without a gradient; kernel
    (O, C, 5, 5), bias and scale (O,); precision of products, ``tf32`` or ``bf16``.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, kernel: Tensor, bias: Tensor, scale: Tensor, precision: str
    ) -> Tensor:
        n, channels, height, across = images.shape
        width = len(kernel)
        assert kernel.shape == (width, channels, SIDE.value, SIDE.value)
        dtype = th.bfloat16 if precision == "bf16" else th.float32
        out = images.new_empty(n, (height + 1) // 2, (across + 1) // 2, width, dtype=dtype)
        pooled, index = th.empty_like(out), th.empty_like(out, dtype=th.int8)
        rows, images = out.numel() // width, images.contiguous()
        views = max(triton.next_power_of_2(channels * SEEN.value**2), 16)
        columns = max(triton.next_power_of_2(width), 16)
        ctx.sizes = channels, height, across, width, precision
        tall = 64 if views * columns <= 8192 else 32
        launch(
            _first_stage_kernel,
            (triton.cdiv(rows, tall),),
            *(images, kernel.contiguous(), bias, scale, out, pooled, index),
            *(rows, *ctx.sizes, tall, views, columns),
            num_warps=8,
        )
        ctx.save_for_backward(images, pooled, index, bias, scale)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, pooled, index, bias, scale = ctx.saved_tensors
        width, channels, side = len(scale), images.shape[1], SEEN.value
        rows = pooled.numel() // width
        views = max(triton.next_power_of_2(channels * side**2), 16)
        columns = max(triton.next_power_of_2(width), 16)
        tall, together = 32, views * columns <= 4096
        count, turns = share_out(triton.cdiv(rows, tall), 0)
        products = scale.new_empty(count, 4, channels, side, side, width)
        sums = scale.new_empty(count, 2, width)
        launch(
            _first_stage_backward_kernel,
            (count, 1 if together else 4),
            *(images, pooled, index, bias, scale, rows_of(grad), products, sums),
            *(rows, *ctx.sizes, turns, together, tall, views, columns),
            num_warps=16,
        )
        to_scale, to_bias = sums.sum(0)
        corners = products.sum(0).unbind()
        shifted = [x[:, i // 2 : i // 2 + 5, i % 2 : i % 2 + 5] for i, x in enumerate(corners)]
        to_kernel = th.stack(shifted).sum(0).permute(3, 0, 1, 2)
        return None, to_kernel, to_bias, to_scale, None


# ------------------------------------------------------------------ the decoder's end


@triton.jit
def _finer(
    row: tl.tensor,
    column: tl.tensor,
    channels: tl.constexpr,
    lines: tl.constexpr,
    across: tl.constexpr,
    up: tl.constexpr,
) -> tl.tensor:
    """Find where in an image (C, up * H, up * W) a channel of a coarse pixel lies."""
    inner, channel = column // channels, column % channels
    left, line = row % across * up, row // across
    top, image = line % lines * up, line // lines
    first = (image * channels + channel).to(tl.int64)
    y, z = top + inner // up, left + inner % up
    return (first * (lines * up) + y) * (across * up) + z


@triton.jit
def _sigmoid_kernel(
    x: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    channels: tl.constexpr,
    stride: tl.constexpr,
    lines: tl.constexpr,
    across: tl.constexpr,
    up: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.arange(0, columns)[None, :]
    known = column < channels * up * up
    inside = (row < rows) & known
    v = tl.load(x + row.to(tl.int64) * stride + column, inside, 0.0).to(tl.float32)
    v += tl.load(bias + column % channels, known, 0.0)
    tl.store(out + _finer(row, column, channels, lines, across, up), tl.sigmoid(v), inside)


@triton.jit
def _sigmoid_backward_kernel(
    result: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.constexpr,
    stride: tl.constexpr,
    lines: tl.constexpr,
    across: tl.constexpr,
    up: tl.constexpr,
    turns: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part = tl.program_id(0)
    column = tl.arange(0, columns)[None, :]
    known = column < channels * up * up
    to_bias = tl.zeros((tall, columns), tl.float32)
    for turn in range(turns):
        row = (part * turns + turn) * tall + tl.arange(0, tall)[:, None]
        place = _finer(row, column, channels, lines, across, up)
        inside = (row < rows) & known
        s = tl.load(result + place, inside, 0.0)
        into = tl.load(grad + place, inside, 0.0) * s * (1 - s)
        to_bias += into
        written = (row < rows) & (column < stride)
        tl.store(out + row.to(tl.int64) * stride + column, into, written)
    first = tl.arange(0, columns)
    tl.store(sums + part * columns + first, tl.sum(to_bias, 0))


class Sigmoid(th.autograd.Function):
    """
    Sigmoid of what a convolution without bias gives, as float32 images in their usual layout.

    Arguments: activations (N, K, H, W), of which the first ``up * up * C`` channels count and are
    sorted as those of :class:`NormSiLU`; bias (C,); up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, up: int) -> Tensor:
        images, stride, lines, across = x.shape
        channels, rows = len(bias), images * lines * across
        assert stride >= up * up * channels
        out = bias.new_empty(images, channels, up * lines, up * across)
        tall, columns, n = tile(rows, stride)
        ctx.sizes = channels, stride, lines, across, up
        grid = (triton.cdiv(rows, tall),)
        sizes = rows, *ctx.sizes, tall, columns
        launch(_sigmoid_kernel, grid, rows_of(x), bias, out, *sizes, num_warps=n)
        ctx.save_for_backward(out)
        ctx.dtype = x.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (result,) = ctx.saved_tensors
        channels, stride, lines, across, up = ctx.sizes
        out = result.new_empty(len(result), lines, across, stride, dtype=ctx.dtype)
        rows = out.numel() // stride
        tall, columns, n = tile(rows, stride)
        count, turns = share_out(triton.cdiv(rows, tall), rows * columns)
        sums = result.new_empty(count, columns)
        launch(
            _sigmoid_backward_kernel,
            (count,),
            *(result, grad.contiguous(), out, sums),
            *(rows, *ctx.sizes, turns, tall, columns),
            num_warps=n,
        )
        to_bias = sums.sum(0)[: up * up * channels].view(-1, channels).sum(0)
        return out.permute(0, 3, 1, 2), to_bias, None
