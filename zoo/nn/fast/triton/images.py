"""
What lies between the convolutions of a CNN, in Triton: each one pass over memory.

Activations are float32 or bfloat16, their channels last: a pixel is a row of C numbers. Statistics
and sums are float32. Convolutions come without their bias, which is added here: cuDNN adds it in a
pass of its own, and its gradient would take another.
"""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamzoo.nn.fast.triton.kernels import EPS, launch, share_out, tile

LAST = th.channels_last


def rows_of(x: Tensor) -> Tensor:
    """View images (N, C, H, W) as their pixels (N * H * W, C), channels last."""
    return x.contiguous(memory_format=LAST).permute(0, 2, 3, 1).flatten(0, 2)


@triton.jit
def normed_silu(v: tl.tensor, weight: tl.tensor, width: tl.constexpr) -> tl.tensor:
    """SiLU of the RMS norm of rows."""
    v = v * tl.rsqrt(tl.sum(v * v, 1) / width + EPS)[:, None] * weight
    return v * tl.sigmoid(v)


@triton.jit
def normed_silu_back(
    v: tl.tensor, weight: tl.tensor, into: tl.tensor, width: tl.constexpr
) -> tl.tensor:
    """Gradients of rows, and of the scale for each row."""
    inverse = tl.rsqrt(tl.sum(v * v, 1) / width + EPS)[:, None]
    unit = v * inverse
    normed = unit * weight
    s = tl.sigmoid(normed)
    into = into * s * (1 + normed * (1 - s))
    along = (tl.sum(into * normed, 1) / width)[:, None]
    return (into * weight - unit * along) * inverse, into * unit


@triton.jit
def _spread(row: tl.tensor, across: tl.constexpr, up: tl.constexpr) -> tl.tensor:
    """
    Find the pixel that a row becomes where every pixel holds up * up of a finer image.

    :param row: (pixel, line, column) of the finer pixel within the coarse one
    :param across: coarse pixels in a line
    """
    cell, inner = row // (up * up), row % (up * up)
    line = cell // across * up + inner // up
    return line * (up * across) + cell % across * up + inner % up


@triton.jit
def _norm_silu_kernel(
    x: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    width: tl.constexpr,
    across: tl.constexpr,
    up: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.arange(0, columns)[None, :]
    known = column < width
    inside = (row < rows) & known
    v = tl.load(x + row.to(tl.int64) * width + column, inside, 0.0).to(tl.float32)
    v += tl.load(bias + column, known, 0.0)
    result = normed_silu(v, tl.load(scale + column, known, 0.0), width)
    place = _spread(row, across, up).to(tl.int64) * width + column
    tl.store(out + place, result, inside)


@triton.jit
def _norm_silu_backward_kernel(
    x: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    rows: tl.tensor,
    width: tl.constexpr,
    across: tl.constexpr,
    up: tl.constexpr,
    turns: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part = tl.program_id(0)
    column = tl.arange(0, columns)[None, :]
    known = column < width
    weight, shift = tl.load(scale + column, known, 0.0), tl.load(bias + column, known, 0.0)
    to_scale = tl.zeros((tall, columns), tl.float32)
    to_bias = tl.zeros((tall, columns), tl.float32)
    for turn in range(turns):
        row = (part * turns + turn) * tall + tl.arange(0, tall)[:, None]
        inside = (row < rows) & known
        place = row.to(tl.int64) * width + column
        v = tl.load(x + place, inside, 0.0).to(tl.float32) + shift
        source = _spread(row, across, up).to(tl.int64) * width + column
        into = tl.load(grad + source, inside, 0.0).to(tl.float32)
        result, for_scale = normed_silu_back(v, weight, into, width)
        tl.store(out + place, result, inside)
        to_scale += for_scale
        to_bias += result
    target, first = sums + part * (2 * width), tl.arange(0, columns)
    tl.store(target + first, tl.sum(to_scale, 0), first < width)
    tl.store(target + width + first, tl.sum(to_bias, 0), first < width)


class NormSiLU(th.autograd.Function):
    """
    SiLU of the RMS norm over channels, of what a convolution without bias gives.

    Arguments: images, bias and scale (C,), and ``up``. With ``up = 2`` images are (N, 4 C, H, W)
    and become (N, C, 2 H, 2 W): channel (a, b, c) is channel c of line a and column b of the four
    pixels that one becomes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, scale: Tensor, up: int) -> Tensor:
        images, width = len(x), len(scale)
        height, across = x.shape[2:]
        assert x.shape[1] == up * up * width
        pixels = rows_of(x)
        rows = len(pixels) * up * up
        out = x.new_empty(images, up * height, up * across, width)
        tall, columns, n = tile(rows, width)
        grid = (triton.cdiv(rows, tall),)
        sizes = rows, width, across, up, tall, columns
        launch(_norm_silu_kernel, grid, pixels, bias, scale, out, *sizes, num_warps=n)
        ctx.save_for_backward(pixels, bias, scale)
        ctx.shape, ctx.up = x.shape, up
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixels, bias, scale = ctx.saved_tensors
        rows, width, up = pixels.numel() // len(scale), len(scale), ctx.up
        images, channels, height, across = ctx.shape
        out = pixels.new_empty(images, height, across, channels)
        tall, columns, n = tile(rows, width)
        count, turns = share_out(triton.cdiv(rows, tall), rows * columns)
        sums = scale.new_empty(count, 2, width)
        launch(
            _norm_silu_backward_kernel,
            (count,),
            *(pixels, bias, scale, rows_of(grad), out, sums),
            *(rows, width, across, up, turns, tall, columns),
            num_warps=n,
        )
        to_scale, to_bias = sums.sum(0)
        return out.permute(0, 3, 1, 2), to_bias, to_scale, None


# ------------------------------------------------------------------ with pooling before


@triton.jit
def _pool_norm_silu_kernel(
    x: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    pooled: tl.tensor,
    index: tl.tensor,
    rows: tl.tensor,
    width: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.arange(0, columns)[None, :]
    known = column < width
    inside = (row < rows) & known
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    left, line = row % small * 2, row // small
    top, image = line % lines * 2, line // lines
    best = tl.zeros((tall, columns), tl.float32) - float("inf")
    chosen = tl.zeros((tall, columns), tl.int32)
    for corner in tl.static_range(4):
        y, z = top + corner // 2, left + corner % 2
        pixel = ((image * height + y) * across + z).to(tl.int64)
        there = inside & (y < height) & (z < across)
        v = tl.load(x + pixel * width + column, there, -float("inf")).to(tl.float32)
        better = (v > best) | (v != v)  # NaN comes through
        best = tl.where(better, v, best)
        chosen = tl.where(better, corner, chosen)
    place = row.to(tl.int64) * width + column
    tl.store(pooled + place, best, inside)
    tl.store(index + place, chosen.to(tl.int8), inside)
    v = tl.where(inside, best + tl.load(bias + column, known, 0.0), 0.0)
    result = normed_silu(v, tl.load(scale + column, known, 0.0), width)
    tl.store(out + place, result, inside)


@triton.jit
def _pool_norm_silu_backward_kernel(
    pooled: tl.tensor,
    index: tl.tensor,
    bias: tl.tensor,
    scale: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    rows: tl.tensor,
    width: tl.constexpr,
    height: tl.constexpr,
    across: tl.constexpr,
    turns: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part = tl.program_id(0)
    column = tl.arange(0, columns)[None, :]
    known = column < width
    small: tl.constexpr = (across + 1) // 2
    lines: tl.constexpr = (height + 1) // 2
    weight, shift = tl.load(scale + column, known, 0.0), tl.load(bias + column, known, 0.0)
    to_scale = tl.zeros((tall, columns), tl.float32)
    to_bias = tl.zeros((tall, columns), tl.float32)
    for turn in range(turns):
        row = (part * turns + turn) * tall + tl.arange(0, tall)[:, None]
        inside = (row < rows) & known
        place = row.to(tl.int64) * width + column
        v = tl.load(pooled + place, inside, 0.0).to(tl.float32) + shift
        chosen = tl.load(index + place, inside, 0).to(tl.int32)
        into = tl.load(grad + place, inside, 0.0).to(tl.float32)
        result, for_scale = normed_silu_back(v, weight, into, width)
        left, line = row % small * 2, row // small
        top, image = line % lines * 2, line // lines
        for corner in tl.static_range(4):
            y, z = top + corner // 2, left + corner % 2
            pixel = ((image * height + y) * across + z).to(tl.int64)
            there = inside & (y < height) & (z < across)
            share = tl.where(chosen == corner, result, 0.0)
            tl.store(out + pixel * width + column, share, there)
        to_scale += for_scale
        to_bias += result
    target, first = sums + part * (2 * width), tl.arange(0, columns)
    tl.store(target + first, tl.sum(to_scale, 0), first < width)
    tl.store(target + width + first, tl.sum(to_bias, 0), first < width)


class PoolNormSiLU(th.autograd.Function):
    """
    SiLU of the RMS norm over channels of a 2x2 max-pool that rounds sizes up.

    Of the images, four times as large, nothing is kept but which of four pixels was chosen.

    Arguments: what a convolution without bias gives (N, C, H, W), bias and scale (C,).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        images, width, height, across = x.shape
        assert width == len(scale)
        out = x.new_empty(images, (height + 1) // 2, (across + 1) // 2, width)
        pooled, index = th.empty_like(out), th.empty_like(out, dtype=th.int8)
        rows = out.numel() // width
        tall, columns, n = tile(rows, width)
        launch(
            _pool_norm_silu_kernel,
            (triton.cdiv(rows, tall),),
            *(rows_of(x), bias, scale, out, pooled, index),
            *(rows, width, height, across, tall, columns),
            num_warps=n,
        )
        ctx.save_for_backward(pooled, index, bias, scale)
        ctx.shape = x.shape
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        pooled, index, bias, scale = ctx.saved_tensors
        images, width, height, across = ctx.shape
        rows = pooled.numel() // width
        out = pooled.new_empty(images, height, across, width)
        tall, columns, n = tile(rows, width)
        count, turns = share_out(triton.cdiv(rows, tall), rows * columns)
        sums = scale.new_empty(count, 2, width)
        launch(
            _pool_norm_silu_backward_kernel,
            (count,),
            *(pooled, index, bias, scale, rows_of(grad), out, sums),
            *(rows, width, height, across, turns, tall, columns),
            num_warps=n,
        )
        to_scale, to_bias = sums.sum(0)
        return out.permute(0, 3, 1, 2), to_bias, to_scale
