"""Both ends of a CNN in Triton: images to the first activation, and the last one to images."""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamzoo.nn.fast.triton_images import normed_silu, normed_silu_back, rows_of
from dreamzoo.nn.fast.triton_kernels import launch, share_out, tile

#: Side of the first convolution's kernel.
SIDE = tl.constexpr(5)
#: Most channels of images that the first stage takes.
CHANNELS = 12


@triton.jit
def _patches(
    images: tl.tensor,
    image: tl.tensor,
    y: tl.tensor,
    z: tl.tensor,
    known: tl.tensor,
    line: tl.tensor,
    tap: tl.tensor,
    channels: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
) -> tl.tensor:
    """
    Read what one line of a kernel sees around pixels, [0, 1] as [-0.5, 0.5], zero outside.

    :param line: of the kernel
    :param tap: (channel, column of the kernel)
    """
    channel = tap // SIDE
    y, z = y + (line - SIDE // 2), z + tap % SIDE - SIDE // 2
    inside = known & (y >= 0) & (y < height)
    inside = inside & (channel < channels) & (z >= 0) & (z < across)
    first = images + image.to(tl.int64) * (channels * height * across) + y * across
    return tl.load(first + channel * (height * across) + z, inside, 0.5) - 0.5


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
    taps: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.arange(0, columns)[None, :]
    known = row < rows
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    left, line = row % small * 2, row // small
    top, image = line % lines * 2, line // lines
    used: tl.constexpr = channels * SIDE * SIDE
    tap, down = tl.arange(0, taps)[None, :], tl.arange(0, taps)[:, None]
    weights = kernel + column * used + down // SIDE * (SIDE * SIDE) + down % SIDE
    weighs = (down < channels * SIDE) & (column < width)
    best = tl.zeros((tall, columns), tl.float32) - float("inf")
    chosen = tl.zeros((tall, columns), tl.int32)
    for corner in tl.static_range(4):
        y, z = top + corner // 2, left + corner % 2
        v = tl.zeros((tall, columns), tl.float32)
        for i in tl.range(0, 5, num_stages=1, loop_unroll_factor=1):
            weight = tl.load(weights + i * SIDE, weighs, 0.0)
            seen = _patches(images, image, y, z, known, i, tap, channels, height, across)
            v = _product(seen, weight, v, precision)
        better = ((v > best) | (v != v)) & (y < height) & (z < across)
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
    sums: tl.tensor,
    rows: tl.tensor,
    channels: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
    width: tl.constexpr,
    precision: tl.constexpr,
    turns: tl.constexpr,
    tall: tl.constexpr,
    taps: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part = tl.program_id(0)
    column = tl.arange(0, columns)[None, :]
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    used: tl.constexpr = channels * SIDE * SIDE
    tap = tl.arange(0, taps)[None, :]
    weight = tl.load(scale + column, column < width, 0.0)
    shift = tl.load(bias + column, column < width, 0.0)
    # Of every line of the kernel.
    first_line = tl.zeros((taps, columns), tl.float32)
    second_line, third_line, fourth_line, fifth_line = (
        first_line,
        first_line,
        first_line,
        first_line,
    )
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
        left, line = row % small * 2, row // small
        top, image = line % lines * 2, line // lines
        for corner in tl.range(0, 4, num_stages=1, loop_unroll_factor=1):
            y, z = top + corner // 2, left + corner % 2
            share = tl.where(chosen == corner, result, 0.0)
            seen = _patches(images, image, y, z, known, 0, tap, channels, height, across)
            first_line = _product(tl.trans(seen), share, first_line, precision)
            seen = _patches(images, image, y, z, known, 1, tap, channels, height, across)
            second_line = _product(tl.trans(seen), share, second_line, precision)
            seen = _patches(images, image, y, z, known, 2, tap, channels, height, across)
            third_line = _product(tl.trans(seen), share, third_line, precision)
            seen = _patches(images, image, y, z, known, 3, tap, channels, height, across)
            fourth_line = _product(tl.trans(seen), share, fourth_line, precision)
            seen = _patches(images, image, y, z, known, 4, tap, channels, height, across)
            fifth_line = _product(tl.trans(seen), share, fifth_line, precision)
        to_scale += tl.sum(for_scale, 0)
        to_bias += tl.sum(result, 0)
    target = sums + part * (width * (used + 2))
    down = tl.arange(0, taps)[:, None]
    inside = (down < channels * SIDE) & (column < width)
    place = target + column * used + down // SIDE * (SIDE * SIDE) + down % SIDE
    tl.store(place, first_line, inside)
    tl.store(place + SIDE, second_line, inside)
    tl.store(place + 2 * SIDE, third_line, inside)
    tl.store(place + 3 * SIDE, fourth_line, inside)
    tl.store(place + 4 * SIDE, fifth_line, inside)
    first = tl.arange(0, columns)
    tl.store(target + width * used + first, to_scale, first < width)
    tl.store(target + width * (used + 1) + first, to_bias, first < width)


class FirstStage(th.autograd.Function):
    """
    5x5 convolution of images, 2x2 max-pool, RMS norm over channels and SiLU.

    The convolution's result, by far the largest activation of a CNN, never reaches memory, nor
    does its gradient. Few channels are what cuDNN is slowest with.

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
        taps = max(triton.next_power_of_2(channels * SIDE.value), 16)
        columns = max(triton.next_power_of_2(width), 16)
        ctx.sizes = channels, height, across, width, precision
        tall = 64 if taps < 64 and columns <= 64 else 32  # pooled pixels of a tile
        ctx.tile = taps, columns
        launch(
            _first_stage_kernel,
            (triton.cdiv(rows, tall),),
            *(images, kernel, bias, scale, out, pooled, index),
            *(rows, *ctx.sizes, tall, *ctx.tile),
            num_warps=4 if columns <= 32 else 8,
        )
        ctx.save_for_backward(images, pooled, index, bias, scale)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, pooled, index, bias, scale = ctx.saved_tensors
        width, channels = len(scale), images.shape[1]
        rows = pooled.numel() // width
        used, columns = channels * SIDE.value**2, ctx.tile[1]
        tall = 32
        count, turns = share_out(triton.cdiv(rows, tall), rows * columns)
        sums = scale.new_empty(count, width * (used + 2))
        launch(
            _first_stage_backward_kernel,
            (count,),
            *(images, pooled, index, bias, scale, rows_of(grad), sums),
            *(rows, *ctx.sizes, turns, tall, *ctx.tile),
            num_warps=4 if columns <= 32 else 8,
        )
        to_kernel, to_scale, to_bias = sums.sum(0).split([width * used, width, width])
        to_kernel = to_kernel.view(width, channels, SIDE.value, SIDE.value)
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
