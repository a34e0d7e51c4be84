"""Categoricals of :mod:`dreamzoo.nn.fast.kernels` in Triton: latents and two-hot scalars."""

import torch as th
import triton
import triton.language as tl
from torch import Tensor

from dreamzoo.nn.fast.triton.kernels import check, launch, tile


@triton.jit
def _sample_mixed_kernel(
    logits: tl.tensor,
    draws: tl.tensor,
    probs: tl.tensor,
    out: tl.tensor,
    items: tl.tensor,
    share: tl.tensor,
    uniform: tl.tensor,
    out_width: tl.tensor,
    at: tl.tensor,
    latents: tl.constexpr,
    classes: tl.constexpr,
    has_draws: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    item = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (item < items) & (column < classes)
    x = tl.load(logits + item * classes + column, inside, -float("inf"))
    x = tl.exp(x - tl.where(item < items, tl.max(x, 1)[:, None], 0.0))
    p = x * (share / tl.where(item < items, tl.sum(x, 1)[:, None], 1.0)) + uniform
    p = tl.where(column < classes, p, 0.0)
    tl.store(probs + item * classes + column, p, inside)
    if has_draws:
        # The first class whose cumulative probability exceeds the draw; NaN exceeds nothing.
        draw = tl.load(draws + item, item < items, 0.0)
        reached = tl.cumsum(p, 1) > draw
        chosen = tl.sum(tl.where(reached | (column >= classes), 0, 1), 1)[:, None]
    else:
        best = p == tl.max(p, 1)[:, None]
        chosen = tl.min(tl.where(best, column, classes), 1)[:, None]
    chosen = tl.minimum(chosen, classes - 1)  # the sum may round to slightly below one
    place = item // latents * out_width + at + item % latents * classes + column
    tl.store(out + place, (column == chosen).to(tl.float32), inside)


def sample_mixed(
    logits: Tensor, unimix: float, draws: Tensor | None, probs: Tensor, out: Tensor, at: int
) -> None:
    rows, latents, classes = shape = tuple(logits.shape)
    wide = max(at + latents * classes, out.shape[-1])
    given = [(logits, shape), (probs, shape), (out, (rows, wide))]
    check(*given, *([] if draws is None else [(draws, (rows, latents))]))
    items = rows * latents
    tall, columns, n = tile(items, classes)
    numbers = items, 1 - unimix, unimix / classes, wide, at
    sizes = latents, classes, draws is not None, tall, columns
    tensors = logits, logits if draws is None else draws, probs, out
    grid = (triton.cdiv(items, tall),)
    launch(_sample_mixed_kernel, grid, *tensors, *numbers, *sizes, num_warps=n)


@triton.jit
def _mixed_backward_kernel(
    probs: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    items: tl.tensor,
    share: tl.tensor,
    uniform: tl.tensor,
    classes: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    item = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (item < items) & (column < classes)
    place = item * classes + column
    p = tl.load(probs + place, inside, 0.0) - uniform
    weighted = tl.where(inside, tl.load(grad + place, inside, 0.0) * p, 0.0)
    mean = tl.sum(weighted, 1)[:, None] / share
    tl.store(out + place, weighted - p * mean, inside)


def mixed_backward(probs: Tensor, unimix: float, grad: Tensor, out: Tensor) -> None:
    rows, latents, classes = shape = tuple(probs.shape)
    check((probs, shape), (grad, shape), (out, shape))
    items = rows * latents
    tall, columns, n = tile(items, classes)
    numbers = items, 1 - unimix, unimix / classes, classes, tall, columns
    launch(
        _mixed_backward_kernel,
        (triton.cdiv(items, tall),),
        *(probs, grad, out, *numbers),
        num_warps=n,
    )


@triton.jit
def _two_hot_mean_kernel(
    logits: tl.tensor,
    outer: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    half: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    first = (tl.program_id(0) * tall + tl.arange(0, tall)).to(tl.int64)
    row = first[:, None]
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows) & (column < half)
    middle = logits + row * (2 * half + 1) + half
    above = tl.load(middle + 1 + column, inside, -float("inf"))
    below = tl.load(middle - 1 - column, inside, -float("inf"))
    center = tl.load(logits + first * (2 * half + 1) + half, first < rows, 0.0)
    top = tl.maximum(tl.max(tl.maximum(above, below), 1), center)
    above, below = tl.exp(above - top[:, None]), tl.exp(below - top[:, None])
    total = tl.sum(above + below, 1) + tl.exp(center - top)
    bins = tl.load(outer + column, column < half, 0.0)
    tl.store(out + first, tl.sum((above - below) * bins, 1) / total, first < rows)


def two_hot_mean(logits: Tensor, outer: Tensor) -> Tensor:
    rows, half = len(logits), len(outer)
    check((logits, (rows, 2 * half + 1)), (outer, (half,)))
    out = th.empty_like(logits[:, 0], memory_format=th.contiguous_format)
    tall, columns, n = tile(rows, half)
    grid = (triton.cdiv(rows, tall),)
    launch(_two_hot_mean_kernel, grid, logits, outer, out, rows, half, tall, columns, num_warps=n)
    return out


@triton.jit
def _log_normalizer_kernel(
    logits: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    bins: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows)[:, None] & (column < bins)
    x = tl.load(logits + row[:, None] * bins + column, inside, -float("inf"))
    top = tl.where(row < rows, tl.max(x, 1), 0.0)
    total = tl.where(row < rows, tl.sum(tl.exp(x - top[:, None]), 1), 1.0)
    tl.store(out + row, top + tl.log(total), row < rows)


def log_normalizer(logits: Tensor) -> Tensor:
    rows, bins = shape = tuple(logits.shape)
    check((logits, shape))
    out = logits.new_empty(rows)
    tall, columns, n = tile(rows, bins)
    grid = (triton.cdiv(rows, tall),)
    launch(_log_normalizer_kernel, grid, logits, out, rows, bins, tall, columns, num_warps=n)
    return out


@triton.jit
def _scaled_softmax_kernel(
    logits: tl.tensor,
    normalizer: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    bins: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows) & (column < bins)
    x = tl.load(logits + row * bins + column, inside, 0.0)
    shift = tl.load(normalizer + row, row < rows, 0.0)
    factor = tl.load(scale + row, row < rows, 0.0)
    tl.store(out + row * bins + column, factor * tl.exp(x - shift), inside)


def scaled_softmax(logits: Tensor, normalizer: Tensor, scale: Tensor, out: Tensor) -> None:
    rows, bins = shape = tuple(logits.shape)
    check((logits, shape), (normalizer, (rows,)), (scale, (rows,)), (out, shape))
    tall, columns, n = tile(rows, bins)
    tensors = logits, normalizer, scale, out
    grid = (triton.cdiv(rows, tall),)
    launch(_scaled_softmax_kernel, grid, *tensors, rows, bins, tall, columns, num_warps=n)
