"""
Linear layers that read one-hot vectors: sums of some columns of the weight instead of products.

Of 32 latents with 32 classes only one number in 32 is not zero, and it is one. On a CPU the sum of
32 columns takes a tenth of the time of the product with all 1024; so does the weight's gradient.
Whether numbers really are zeros and ones is looked at: where they are not, or where nobody has
compiled loops, the product is computed. That is also the plain form.
"""

from collections.abc import Callable
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import current
from dreamzoo.nn.fast.switch import is_traced
from dreamzoo.nn.fast.threads import map_pieces

#: Fewer rows than this are multiplied: the sums need the weight in another order.
LEAST_ROWS = 128
#: Outputs that are summed together: the cache holds that part of all columns.
BLOCK = 256


def linear(x: Tensor, weight: Tensor, bias: Tensor, ones: slice) -> Tensor:
    """
    Compute ``x @ weight.T + bias`` with a gradient, fast if some inputs are one-hot vectors.

    :param x: (..., in)
    :param weight: (out, in)
    :param bias: (out,)
    :param ones: which inputs are one-hot vectors of one length side by side, as a rule
    """
    rows = x.flatten(0, -2)
    columns = _find(rows.detach(), ones) if _is_worth(rows, weight) else None
    if columns is None:
        return F.linear(x, weight, bias)
    return OneHotLinear.apply(x, weight, bias, columns, ones)


def _is_worth(rows: Tensor, weight: Tensor) -> bool:
    exact = current() == "fp32" and weight.dtype is rows.dtype and not is_traced()
    return exact and len(rows) >= LEAST_ROWS and kernels.uses_numba(rows)


def _find(rows: Tensor, ones: slice) -> Tensor | None:
    """Find where the ones are, (N, vectors); None where there is anything else, or too many."""
    width = ones.stop - ones.start
    vectors = int(rows[0, ones].count_nonzero())
    if not 0 < 8 * vectors <= width or width % vectors:
        return None
    columns = th.empty(len(rows), vectors, dtype=th.int32)
    arrays = rows.contiguous().numpy(), columns.numpy()
    found = kernels.compiled.find_ones(arrays[0], ones.start, width // vectors, arrays[1])
    return columns if found else None


class OneHotLinear(th.autograd.Function):
    """:func:`linear` where the one-hot vectors have been found."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, columns: Tensor, ones: slice
    ) -> Tensor:
        ctx.save_for_backward(x, weight, columns)
        ctx.others = [part for part in _others(x.shape[-1], ones) if part.stop > part.start]
        ctx.ones = ones
        result = bias.expand(*x.shape[:-1], -1).contiguous()
        rows, out = x.flatten(0, -2), result.view(-1, len(bias))
        for part in ctx.others:
            out.addmm_(rows[:, part], weight[:, part].t())
        table = weight[:, ones].t().contiguous()
        _by_blocks(kernels.compiled.gather, table, columns, out)
        return result

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, columns = ctx.saved_tensors
        into_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad, x = grad.flatten(0, -2).contiguous(), x.flatten(0, -2)
        into_weight = into_bias = None
        if ctx.needs_input_grad[1]:
            into_weight = th.empty_like(weight)
            for part in ctx.others:
                into_weight[:, part] = grad.t() @ x[:, part]
            table = weight.new_zeros(ctx.ones.stop - ctx.ones.start, len(weight))
            _by_blocks(kernels.compiled.scatter, grad, columns, table)
            into_weight[:, ctx.ones] = table.t()
        if ctx.needs_input_grad[2]:
            into_bias = grad.sum(0)
        return into_x, into_weight, into_bias, None, None


def _others(width: int, ones: slice) -> tuple[slice, slice]:
    return slice(0, ones.start), slice(ones.stop, width)


def _by_blocks(kernel: Callable[..., None], *tensors: Tensor) -> None:
    """Let threads compute some columns of the last tensor each, and so add nothing up."""
    arrays = [x.numpy() for x in tensors]
    width = tensors[-1].shape[1]
    blocks = [(i, min(i + BLOCK, width)) for i in range(0, width, BLOCK)]
    map_pieces(lambda block: kernel(*arrays, *block), blocks, tensors[-1].device)
