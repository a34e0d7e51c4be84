"""Losses in Triton with their gradient: one launch forward and one back."""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor

from dreamzoo.nn.fast.triton.kernels import MANY, check, launch, tile


@triton.jit
def _pick(row: tl.tensor, column: tl.tensor, index: tl.tensor) -> tl.tensor:
    return tl.sum(tl.where(column == index, row, 0.0), 1)[:, None]


@triton.jit
def _encode(
    bins: tl.tensor, column: tl.tensor, target: tl.tensor, count: tl.constexpr
) -> tl.tensor:
    """Find the bins around targets (n, 1), and the weight of the upper one."""
    below = tl.sum(tl.where((bins <= target) & (column < count), 1, 0), 1)[:, None] - 1
    below = tl.maximum(below, 0)
    above = tl.minimum(below + 1, count - 1)
    low = _pick(bins, column, below)
    width = _pick(bins, column, above) - low
    upper = tl.minimum(tl.maximum((target - low) / tl.maximum(width, 1e-8), 0.0), 1.0)
    upper = tl.where(width > 0, upper, 0.0)
    return below, above, tl.where(target != target, target, upper)


@triton.jit
def _picked(
    x: tl.tensor, bins: tl.tensor, column: tl.tensor, target: tl.tensor, count: tl.constexpr
) -> tl.tensor:
    below, above, upper = _encode(bins, column, target, count)
    first = _pick(x, column, below)
    return first + upper * (_pick(x, column, above) - first)


@triton.jit
def _two_hot(
    bins: tl.tensor, column: tl.tensor, target: tl.tensor, count: tl.constexpr
) -> tl.tensor:
    below, above, upper = _encode(bins, column, target, count)
    return tl.where(column == below, 1 - upper, 0.0) + tl.where(column == above, upper, 0.0)


@triton.jit
def _two_hot_loss_kernel(
    logits: tl.tensor,
    bins: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    normalizer: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    first_weight: tl.tensor,
    second_weight: tl.tensor,
    count: tl.constexpr,
    has_second: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    known = row < rows
    x = tl.load(logits + row * count + column, known & (column < count), -float("inf"))
    top = tl.where(known, tl.max(x, 1)[:, None], 0.0)
    total = tl.where(known, tl.sum(tl.exp(x - top), 1)[:, None], 1.0)
    log_total = top + tl.log(total)
    values = tl.load(bins + column, column < count, 0.0)
    target = tl.load(first + row, known, 0.0)
    loss = first_weight * (log_total - _picked(x, values, column, target, count))
    if has_second:
        target = tl.load(second + row, known, 0.0)
        loss += second_weight * (log_total - _picked(x, values, column, target, count))
    tl.store(normalizer + row, log_total, known)
    tl.store(out + row, loss, known)


@triton.jit
def _two_hot_loss_backward_kernel(
    logits: tl.tensor,
    bins: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    normalizer: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    first_weight: tl.tensor,
    second_weight: tl.tensor,
    count: tl.constexpr,
    has_second: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    known = row < rows
    inside = known & (column < count)
    x = tl.load(logits + row * count + column, inside, 0.0)
    probs = tl.exp(x - tl.load(normalizer + row, known, 0.0))
    values = tl.load(bins + column, column < count, 0.0)
    target = tl.load(first + row, known, 0.0)
    slope = first_weight * (probs - _two_hot(values, column, target, count))
    if has_second:
        target = tl.load(second + row, known, 0.0)
        slope += second_weight * (probs - _two_hot(values, column, target, count))
    tl.store(out + row * count + column, tl.load(grad + row, known, 0.0) * slope, inside)


class TwoHotLoss(th.autograd.Function):
    """
    Cross-entropy of rows of logits with one or two two-hot targets, summed over targets.

    Arguments: logits (N, K), the K bins, one or two targets (N,) in a list, and their weights.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, bins: Tensor, targets: list[Tensor], weights: tuple[float, ...]
    ) -> Tensor:
        rows, count = logits.shape
        first, *others = (x.detach().float().contiguous() for x in targets)
        second = others[0] if others else first
        logits = logits.contiguous()
        normalizer, out = logits.new_empty(2, rows)
        check((logits, (rows, count)), (bins, (count,)), (first, (rows,)), (second, (rows,)))
        tall, columns, n = tile(rows, count)
        grid = (triton.cdiv(rows, tall),)
        ctx.sizes = rows, weights[0], weights[-1], count, bool(others), tall, columns
        tensors = logits, bins, first, second, normalizer
        launch(_two_hot_loss_kernel, grid, *tensors, out, *ctx.sizes, num_warps=n)
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, *others = ctx.saved_tensors
        rows, count = logits.shape
        out, grad = th.empty_like(logits), grad.contiguous()
        check((logits, (rows, count)), (grad, (rows,)))
        tall, _, n = tile(rows, count)
        launch(
            _two_hot_loss_backward_kernel,
            (triton.cdiv(rows, tall),),
            *(logits, *others, grad, out, *ctx.sizes),
            num_warps=n,
        )
        return out, None, None, None


# ------------------------------------------------------------------ images


@triton.jit
def _squared_error_kernel(
    prediction: tl.tensor,
    target: tl.tensor,
    out: tl.tensor,
    size: tl.tensor,
    turns: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    image = tl.program_id(0)
    first = image.to(tl.int64) * size
    sums = tl.zeros((columns,), tl.float32)
    for turn in range(turns):
        place = turn * columns + tl.arange(0, columns)
        inside = place < size
        p = tl.load(prediction + first + place, inside, 0.0)
        error = p - tl.load(target + first + place, inside, 0.0)
        sums += error * error
    tl.store(out + image, tl.sum(sums, 0))


@triton.jit
def _squared_error_backward_kernel(
    prediction: tl.tensor,
    target: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    size: tl.tensor,
    columns: tl.constexpr,
) -> None:
    image = tl.program_id(0)
    place = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = place < size
    place = image.to(tl.int64) * size + place
    p = tl.load(prediction + place, inside, 0.0)
    error = p - tl.load(target + place, inside, 0.0)
    tl.store(out + place, 2 * tl.load(grad + image) * error, inside)


class SquaredError(th.autograd.Function):
    """
    Squared error of images, summed over each.

    Arguments: predictions and targets, (N, C, H, W); targets have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor) -> Tensor:
        prediction, target = prediction.contiguous(), target.contiguous()
        shape = tuple(prediction.shape)
        check((prediction, shape), (target, shape))
        out, size = prediction.new_empty(len(prediction)), prediction[0].numel()
        sizes = size, triton.cdiv(size, MANY), MANY
        launch(_squared_error_kernel, (len(out),), prediction, target, out, *sizes, num_warps=4)
        ctx.save_for_backward(prediction, target)
        return out

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        prediction, target = ctx.saved_tensors
        out, size = th.empty_like(prediction), prediction[0].numel()
        grid = len(out), triton.cdiv(size, MANY)
        tensors = prediction, target, grad.contiguous(), out
        launch(_squared_error_backward_kernel, grid, *tensors, size, MANY, num_warps=4)
        return out, None
