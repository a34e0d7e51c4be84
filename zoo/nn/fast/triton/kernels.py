"""
The functions of :mod:`dreamzoo.nn.fast.kernels` in Triton, for float32 on CUDA: one launch each.

Read that module for what they compute. A program works on a tile of whole rows, so that every sum
along a row stays inside of it. Sums over rows, which the gradients of scales and biases are, go by
way of one partial sum a program and a second launch: their order never changes, so neither do they.
"""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor

EPS = tl.constexpr(1e-4)

#: Numbers in a tile: of a few rows, which many programs shall share, and of many.
FEW, MANY = 256, 1024
#: Largest matrix that counts as few rows.
SMALL = 2**18
#: Most programs that leave partial sums behind: so that few have to be added, or for large
#: matrices, so that enough work at a time.
FEW_PARTS, MANY_PARTS = 256, 1024
#: Largest tile of which one program sums all rows itself, without a second launch.
ALONE = 2048


def tile(rows: int, width: int) -> tuple[int, int, int]:
    """
    Cut a matrix into tiles of whole rows.

    :param rows: of the matrix
    :param width: of a row
    :return: rows and columns of a tile, powers of two, and warps for it
    """
    columns = triton.next_power_of_2(width)
    size = MANY if rows * columns > SMALL else FEW
    tall = max(size // columns, 1)
    return tall, columns, warps(tall * columns)


def share_out(tiles: int, numbers: int) -> tuple[int, int]:
    """
    Share tiles out among programs that leave partial sums behind.

    :param tiles: of the matrix
    :param numbers: in the matrix
    :return: programs, and tiles for each of them
    """
    turns = max(triton.cdiv(tiles, FEW_PARTS if numbers <= 16 * SMALL else MANY_PARTS), 1)
    return max(triton.cdiv(tiles, turns), 1), turns


def warps(numbers: int) -> int:
    """Choose how many warps work on a tile: eight numbers a thread, more only in the largest."""
    return min(max(numbers // 256, 1), 16)


def check(*expected: tuple[Tensor, tuple[int, ...]]) -> None:
    """
    Refuse tensors that a kernel would read or write past their end.

    :param expected: tensors and their shapes; all are float32, contiguous and on one device
    :raises ValueError: names what was given and what is expected
    """
    device = expected[0][0].device
    for x, shape in expected:
        fits = x.shape == shape and x.dtype is th.float32 and x.device == device
        if not (fits and x.is_contiguous()):
            found = [f"{x.dtype} {tuple(x.shape)} {x.stride()} on {x.device}" for x, _ in expected]
            shapes = [shape for _, shape in expected]
            raise ValueError(
                f"Tensors that do not belong together, with their strides: {found}; expected "
                f"contiguous float32 on one device of the shapes {shapes}."
            )


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *args: Any, **options: Any) -> None:
    """
    Run a kernel on the device of its first tensor, which need not be the current one.

    :param kernel: of Triton
    :param grid: programs along every axis; none at all is nothing to do
    :param first: first argument
    """
    if all(grid):
        with th.cuda.device_of(first):
            kernel[grid](first, *args, **options)


@triton.jit
def _silu_slope(v: tl.tensor) -> tl.tensor:
    s = tl.sigmoid(v)
    return s * (1 + v * (1 - s))


# ------------------------------------------------------------------ norm and SiLU


@triton.jit
def _norm_silu_kernel(
    x: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    out_width: tl.tensor,
    at: tl.tensor,
    groups: tl.constexpr,
    width: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    group = tl.program_id(1)
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows) & (column < width)
    v = tl.load(x + row * (groups * width) + group * width + column, inside, 0.0)
    inverse = tl.rsqrt(tl.sum(v * v, 1) / width + EPS)[:, None]
    v = v * inverse * tl.load(scale + group * width + column, column < width, 0.0)
    tl.store(out + row * out_width + at + group * width + column, v * tl.sigmoid(v), inside)


def norm_silu(x: Tensor, scale: Tensor, out: Tensor, at: int) -> None:
    rows, (groups, width) = len(x), scale.shape
    wide = max(at + groups * width, out.shape[-1])
    check((x, (rows, groups * width)), (scale, (groups, width)), (out, (rows, wide)))
    tall, columns, n = tile(rows, width)
    grid = triton.cdiv(rows, tall), groups
    shape = groups, width, tall, columns
    launch(_norm_silu_kernel, grid, x, scale, out, rows, wide, at, *shape, num_warps=n)


@triton.jit
def _block_norm_silu_kernel(
    dense: tl.tensor,
    own: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    width: tl.constexpr,
    block: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows) & (column < width)
    by_block = (column // block * rows + row) * block + column % block
    v = tl.load(dense + row * width + column, inside, 0.0) + tl.load(own + by_block, inside, 0.0)
    tl.store(dense + row * width + column, v, inside)
    inverse = tl.rsqrt(tl.sum(v * v, 1) / width + EPS)[:, None]
    v = v * inverse * tl.load(scale + column, column < width, 0.0)
    tl.store(out + by_block, v * tl.sigmoid(v), inside)


def block_norm_silu(dense: Tensor, own: Tensor, scale: Tensor, out: Tensor) -> None:
    blocks, rows, width = len(own), len(dense), len(scale)
    parts = blocks, rows, width // blocks
    check((dense, (rows, width)), (own, parts), (scale, (width,)), (out, parts))
    tall, columns, n = tile(rows, width)
    shape = width, width // blocks, tall, columns
    grid = (triton.cdiv(rows, tall),)
    launch(_block_norm_silu_kernel, grid, dense, own, scale, out, rows, *shape, num_warps=n)


@triton.jit
def _norm_silu_backward_kernel(
    x: tl.tensor,
    scale: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    scale_sums: tl.tensor,
    bias_sums: tl.tensor,
    rows: tl.tensor,
    grad_width: tl.tensor,
    at: tl.tensor,
    groups: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
    has_bias: tl.constexpr,
    alone: tl.constexpr,
    turns: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    part, group = tl.program_id(0), tl.program_id(1)
    column = tl.arange(0, columns)[None, :]
    weight = tl.load(scale + group * width + column, column < width, 0.0)
    to_scale = tl.zeros((tall, columns), tl.float32)
    to_bias = tl.zeros((tall, columns), tl.float32)
    for turn in range(turns):
        start = (turn * tl.num_programs(0) + part) * tall
        row = (start + tl.arange(0, tall)[:, None]).to(tl.int64)
        inside = (row < rows) & (column < width)
        place = row * (groups * width) + group * width + column
        if block > 0:
            source = (column // block * rows + row) * block + column % block
        else:
            source = row * grad_width + at + group * width + column
        v = tl.load(x + place, inside, 0.0)
        inverse = tl.rsqrt(tl.sum(v * v, 1) / width + EPS)[:, None]
        unit = v * inverse
        normed = unit * weight
        into = tl.load(grad + source, inside, 0.0) * _silu_slope(normed)
        along = (tl.sum(into * normed, 1) / width)[:, None]
        result = (into * weight - unit * along) * inverse
        tl.store(out + place, result, inside)
        to_scale += into * unit
        if has_bias:
            to_bias += result
    first = tl.arange(0, columns)
    target = part * (groups * width) + group * width + first
    sums = tl.sum(to_scale, 0)
    if alone:
        sums += tl.load(scale_sums + target, first < width, 0.0)
    tl.store(scale_sums + target, sums, first < width)
    if has_bias:
        sums = tl.sum(to_bias, 0)
        if alone:
            sums += tl.load(bias_sums + target, first < width, 0.0)
        tl.store(bias_sums + target, sums, first < width)


@triton.jit
def _add_parts_kernel(
    parts: tl.tensor,
    total: tl.tensor,
    other_total: tl.tensor,
    width: tl.tensor,
    count: tl.constexpr,
    has_other: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    sums = tl.zeros((tall, columns), tl.float32)
    others = tl.zeros((tall, columns), tl.float32)
    for start in range(0, count, tall):
        row = start + tl.arange(0, tall)[:, None]
        inside = (row < count) & (column[None, :] < width)
        sums += tl.load(parts + row * width + column[None, :], inside, 0.0)
        if has_other:
            others += tl.load(parts + (count + row) * width + column[None, :], inside, 0.0)
    before = tl.load(total + column, column < width, 0.0)
    tl.store(total + column, before + tl.sum(sums, 0), column < width)
    if has_other:
        before = tl.load(other_total + column, column < width, 0.0)
        tl.store(other_total + column, before + tl.sum(others, 0), column < width)


def add_parts(parts: Tensor, total: Tensor, other: Tensor | None = None) -> None:
    """
    Add partial sums up, always in the same order.

    :param parts: (1 or 2, P, W)
    :param total: the first are added to it, W numbers
    :param other: and the second to it, W numbers
    """
    count, width = parts.shape[1:]
    tall, columns = min(triton.next_power_of_2(count), 128), 16
    grid = (triton.cdiv(width, columns),)
    shape = width, count, other is not None, tall, columns
    second = total if other is None else other
    launch(_add_parts_kernel, grid, parts, total, second, *shape, num_warps=4)


def _norm_silu_backward(
    x: Tensor,
    scale: Tensor,
    grad: tuple[Tensor, int, int],
    out: Tensor,
    scale_grad: Tensor,
    bias_grad: Tensor | None,
    block: int,
) -> None:
    """
    Go back through a norm.

    :param scale: (G, M)
    :param grad: of the result, how wide its rows are, and the column where it begins
    :param block: width d of a block, if the gradient is (D / d, N, d); else 0
    """
    source, wide, at = grad
    rows, (groups, width) = len(x), scale.shape
    tall, columns, n = tile(rows, width)
    all_rows = max(triton.next_power_of_2(rows), 1)
    alone = all_rows * columns <= ALONE
    sums = [scale_grad] if bias_grad is None else [scale_grad, bias_grad]
    if alone:
        tall, n, count, turns, parts = all_rows, warps(all_rows * columns), 1, 1, None
    else:
        count, turns = share_out(triton.cdiv(rows, tall), rows * columns)
        parts = x.new_empty(len(sums), count, groups * width)
    to_scale, *to_bias = sums if parts is None else parts
    shape = groups, width, block, bias_grad is not None, alone, turns, tall, columns
    launch(
        _norm_silu_backward_kernel,
        (count, groups),
        *(x, scale, source, out, to_scale, *(to_bias or [to_scale])),
        *(rows, wide, at, *shape),
        num_warps=n,
    )
    if parts is not None:
        add_parts(parts, *sums)


def norm_silu_backward(
    x: Tensor,
    scale: Tensor,
    grad: Tensor,
    scale_grad: Tensor,
    bias_grad: Tensor | None,
    out: Tensor,
    at: int,
) -> None:
    rows, shape = len(x), tuple(scale.shape)
    width = shape[0] * shape[1]
    wide = max(at + width, grad.shape[-1])
    given = [(x, (rows, width)), (scale, shape), (grad, (rows, wide)), (scale_grad, shape)]
    if bias_grad is not None:
        given.append((bias_grad, (width,)))
    check(*given, (out, (rows, width)))
    _norm_silu_backward(x, scale, (grad, wide, at), out, scale_grad, bias_grad, 0)


def block_norm_silu_backward(
    total: Tensor, scale: Tensor, grad: Tensor, out: Tensor, scale_grad: Tensor
) -> None:
    rows, width, blocks = len(total), len(scale), len(grad)
    parts = blocks, rows, width // blocks
    whole = rows, width
    check((total, whole), (scale, (width,)), (grad, parts), (out, whole), (scale_grad, (width,)))
    by_block = grad, 0, 0
    _norm_silu_backward(total, scale[None], by_block, out, scale_grad, None, width // blocks)


# ------------------------------------------------------------------ gated recurrent unit


@triton.jit
def _gru_kernel(
    gates: tl.tensor,
    bias: tl.tensor,
    deter: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    deter_width: tl.tensor,
    out_width: tl.tensor,
    width: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    block = tl.program_id(1)
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.program_id(2) * columns + tl.arange(0, columns)[None, :]
    known = column < width
    inside = (row < rows) & known
    gate, shift = gates + (block * rows + row) * (3 * width) + column, bias + block * 3 * width
    shift += column
    reset = tl.sigmoid(tl.load(gate, inside, 0.0) + tl.load(shift, known, 0.0))
    raw = tl.load(gate + width, inside, 0.0) + tl.load(shift + width, known, 0.0)
    candidate = 2 * tl.sigmoid(2 * reset * raw) - 1
    update = tl.load(gate + 2 * width, inside, 0.0) + tl.load(shift + 2 * width, known, 0.0)
    before = tl.load(deter + row * deter_width + block * width + column, inside, 0.0)
    after = before + tl.sigmoid(update) * (candidate - before)
    tl.store(out + row * out_width + block * width + column, after, inside)


def _gru_grid(rows: int, blocks: int, width: int) -> tuple[tuple[int, ...], int, int, int]:
    """Cut (g, N, d) into tiles: programs, rows, columns and warps."""
    columns = min(triton.next_power_of_2(width), FEW)
    size = MANY if rows * blocks * width > SMALL else FEW
    tall = max(size // columns, 1)
    grid = triton.cdiv(rows, tall), blocks, triton.cdiv(width, columns)
    return grid, tall, columns, warps(tall * columns)


def gru(gates: Tensor, bias: Tensor, deter: Tensor, out: Tensor) -> None:
    blocks, rows, width = gates.shape[0], gates.shape[1], gates.shape[2] // 3
    before, after = (max(blocks * width, x.shape[-1]) for x in (deter, out))
    check(
        (gates, (blocks, rows, 3 * width)),
        (bias, (blocks, 3 * width)),
        (deter, (rows, before)),
        (out, (rows, after)),
    )
    grid, tall, columns, n = _gru_grid(rows, blocks, width)
    shape = rows, before, after, width, tall, columns
    launch(_gru_kernel, grid, gates, bias, deter, out, *shape, num_warps=n)


@triton.jit
def _gru_backward_kernel(
    gates: tl.tensor,
    bias: tl.tensor,
    deter: tl.tensor,
    grad: tl.tensor,
    gates_grad: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    deter_width: tl.tensor,
    grad_width: tl.tensor,
    width: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    block = tl.program_id(1)
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.program_id(2) * columns + tl.arange(0, columns)[None, :]
    known = column < width
    inside = (row < rows) & known
    place, shift = (block * rows + row) * (3 * width) + column, bias + block * 3 * width + column
    gate, into = gates + place, gates_grad + place
    reset = tl.sigmoid(tl.load(gate, inside, 0.0) + tl.load(shift, known, 0.0))
    raw = tl.load(gate + width, inside, 0.0) + tl.load(shift + width, known, 0.0)
    candidate = 2 * tl.sigmoid(2 * reset * raw) - 1
    update = tl.load(gate + 2 * width, inside, 0.0) + tl.load(shift + 2 * width, known, 0.0)
    update = tl.sigmoid(update)
    before = tl.load(deter + row * deter_width + block * width + column, inside, 0.0)
    after = tl.load(grad + row * grad_width + block * width + column, inside, 0.0)
    taken = after * update
    to_raw = taken * (1 - candidate * candidate)
    tl.store(into, to_raw * raw * reset * (1 - reset), inside)
    tl.store(into + width, to_raw * reset, inside)
    tl.store(into + 2 * width, (candidate - before) * taken * (1 - update), inside)
    tl.store(out + row * grad_width + block * width + column, after - taken, inside)


def gru_backward(
    gates: Tensor, bias: Tensor, deter: Tensor, grad: Tensor, gates_grad: Tensor, out: Tensor
) -> None:
    blocks, rows, width = gates.shape[0], gates.shape[1], gates.shape[2] // 3
    before = max(blocks * width, deter.shape[-1])
    check(
        (gates, (blocks, rows, 3 * width)),
        (bias, (blocks, 3 * width)),
        (deter, (rows, before)),
        (grad, (rows, blocks * width)),
        (gates_grad, (blocks, rows, 3 * width)),
        (out, (rows, blocks * width)),
    )
    grid, tall, columns, n = _gru_grid(rows, blocks, width)
    shape = rows, before, blocks * width, width, tall, columns
    launch(
        _gru_backward_kernel, grid, gates, bias, deter, grad, gates_grad, out, *shape, num_warps=n
    )
