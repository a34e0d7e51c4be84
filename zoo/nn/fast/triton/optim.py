"""LaProp in Triton: all parameters in four launches, each number read and written once."""

from typing import NamedTuple

import torch as th
import triton
import triton.language as tl
from torch import Tensor

from dreamzoo.nn.fast.triton.kernels import launch

#: Numbers of one parameter that a program works on.
CHUNK = 2048


class Table(NamedTuple):
    """Where parameters and what LaProp keeps of them lie in memory."""

    places: list[int]  # of parameters, squares and momenta, in turn
    pointers: Tensor  # the same on the device, (P, 3)
    sizes: Tensor  # numbers of each parameter, (P,)
    starts: Tensor  # where their gradients begin, (P,)
    firsts: Tensor  # first chunk of each, and one past the last, (P + 1,)
    owners: Tensor  # parameter of every chunk, (K,)


def tabulate(
    params: list[Tensor], squares: list[Tensor], momenta: list[Tensor], kept: Table | None
) -> Table | None:
    """
    Look up where everything lies, which must not happen while a graph is recorded.

    :param params: parameters
    :param squares: of each
    :param momenta: of each
    :param kept: an earlier table of them, returned if it still holds
    :return: None if something is no contiguous float32
    """
    tensors = [x for group in zip(params, squares, momenta, strict=True) for x in group]
    if not all(x.is_contiguous() and x.dtype is th.float32 for x in tensors):
        return None
    places = [x.data_ptr() for x in tensors]
    if any(place % 16 for place in places):
        return None
    sizes = [p.numel() for p in params]
    if kept is not None and kept.places == places:
        return kept
    chunks = [triton.cdiv(size, CHUNK) for size in sizes]
    starts, firsts, owners = [0], [0], list[int]()
    for i, (size, count) in enumerate(zip(sizes, chunks, strict=True)):
        starts.append(starts[-1] + size)
        firsts.append(firsts[-1] + count)
        owners += [i] * count
    columns = places, sizes, starts[:-1], firsts, owners
    pointers, *rest = (th.tensor(x, device=params[0].device) for x in columns)
    return Table(places, pointers.view(-1, 3), *rest)


def joined(grads: list[Tensor]) -> Tensor:
    """Put gradients one after the other, unless they lie so already."""
    first, place = grads[0], grads[0].data_ptr()
    for grad in grads:
        if grad.data_ptr() != place or not grad.is_contiguous():
            return th.cat([grad.flatten() for grad in grads])
        place += grad.nbytes
    count = sum(grad.numel() for grad in grads)
    if first.storage_offset() + count > first.untyped_storage().nbytes() // first.itemsize:
        return th.cat([grad.flatten() for grad in grads])  # neighbors by chance
    return first.as_strided((count,), (1,))


@triton.jit
def _chunk(
    pointers: tl.tensor,
    sizes: tl.tensor,
    firsts: tl.tensor,
    owners: tl.tensor,
    which: tl.constexpr,
    chunk: tl.constexpr,
) -> tl.tensor:
    """Find a program's chunk: its parameter, and numbers in one of the parameter's tensors."""
    program = tl.program_id(0)
    owner = tl.load(owners + program)
    place = (program - tl.load(firsts + owner)) * chunk + tl.arange(0, chunk)
    first = tl.load(pointers + owner * 3 + which).to(tl.pointer_type(tl.float32))
    return owner, place, tl.multiple_of(first, 16), place < tl.load(sizes + owner)


@triton.jit
def _squares_kernel(
    pointers: tl.tensor,
    sizes: tl.tensor,
    starts: tl.tensor,
    firsts: tl.tensor,
    owners: tl.tensor,
    grads: tl.tensor,
    sums: tl.tensor,
    chunk: tl.constexpr,
) -> None:
    owner, place, param, inside = _chunk(pointers, sizes, firsts, owners, 0, chunk)
    p = tl.load(param + place, inside, 0.0)
    g = tl.load(grads + tl.load(starts + owner) + place, inside, 0.0)
    target = sums + tl.program_id(0) * 2
    tl.store(target, tl.sum(p * p, 0))
    tl.store(target + 1, tl.sum(g * g, 0))


@triton.jit
def _factor_kernel(
    sums: tl.tensor,
    firsts: tl.tensor,
    factors: tl.tensor,
    agc: tl.tensor,
    floor: tl.tensor,
    columns: tl.constexpr,
) -> None:
    owner = tl.program_id(0)
    first, last = tl.load(firsts + owner), tl.load(firsts + owner + 1)
    of_param = tl.zeros((columns,), tl.float32)
    of_grad = tl.zeros((columns,), tl.float32)
    start = first
    while start < last:
        chunk = start + tl.arange(0, columns)
        of_param += tl.load(sums + chunk * 2, chunk < last, 0.0)
        of_grad += tl.load(sums + chunk * 2 + 1, chunk < last, 0.0)
        start += columns
    limit = agc * tl.maximum(tl.sqrt(tl.sum(of_param, 0)), floor)
    excess = tl.sqrt(tl.sum(of_grad, 0)) / limit
    tl.store(factors + owner, 1 / tl.where(excess < 1.0, 1.0, excess))


@triton.jit
def _step_kernel(
    pointers: tl.tensor,
    sizes: tl.tensor,
    starts: tl.tensor,
    firsts: tl.tensor,
    owners: tl.tensor,
    grads: tl.tensor,
    factors: tl.tensor,
    numbers: tl.tensor,
    beta1: tl.tensor,
    beta2: tl.tensor,
    eps: tl.tensor,
    clips: tl.constexpr,
    chunk: tl.constexpr,
) -> None:
    owner, place, param, inside = _chunk(pointers, sizes, firsts, owners, 0, chunk)
    _, _, square, _ = _chunk(pointers, sizes, firsts, owners, 1, chunk)
    _, _, momentum, _ = _chunk(pointers, sizes, firsts, owners, 2, chunk)
    g = tl.load(grads + tl.load(starts + owner) + place, inside, 0.0)
    if clips:
        g *= tl.load(factors + owner)
    s = tl.load(square + place, inside, 0.0) * beta2 + (1 - beta2) * g * g
    tl.store(square + place, s, inside)
    size = tl.sqrt(s / tl.load(numbers)) + eps
    m = tl.load(momentum + place, inside, 0.0)
    m += (1 - beta1) * (g / size - m)
    tl.store(momentum + place, m, inside)
    p = tl.load(param + place, inside, 0.0)
    tl.store(param + place, p - tl.load(numbers + 1) * m, inside)


def step(
    table: Table,
    grads: list[Tensor],
    numbers: Tensor,
    betas: tuple[float, float],
    eps: float,
    agc: float,
    floor: float,
) -> None:
    """
    Apply one update to all parameters of a table.

    :param grads: of each parameter
    :param numbers: what running squares are divided by, and what momenta are multiplied by, (2,)
    :param betas: decay of momenta and of squares
    :param eps: added outside the square root
    :param agc: largest norm of a gradient as a share of the parameter's; 0: any
    :param floor: smallest norm of a parameter that this assumes
    """
    places = table.pointers, table.sizes, table.starts, table.firsts, table.owners
    flat, chunks, count = joined(grads), len(table.owners), len(table.sizes)
    factors = flat.new_empty(count)
    if agc:
        sums = flat.new_empty(chunks, 2)
        launch(_squares_kernel, (chunks,), *places, flat, sums, CHUNK, num_warps=8)
        limits = table.firsts, factors, agc, floor, 1024
        launch(_factor_kernel, (count,), sums, *limits, num_warps=4)
    constants = *betas, eps, agc > 0, CHUNK
    launch(_step_kernel, (chunks,), *places, flat, factors, numbers, *constants, num_warps=8)
