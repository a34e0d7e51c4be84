"""
ELU, with its gradient, in one pass over memory each.

On a CPU torch's own form takes three times as long, as its ``expm1`` is exact to the last digit;
here a polynomial is, up to rounding. That is noticed where networks are narrow, as those of the
first two Dreamers. The plain form is torch's, and so is that of other dtypes and devices.
"""

from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.switch import is_traced
from dreamzoo.nn.fast.threads import map_pieces

#: Of fewer numbers torch's own form is faster: a compiled function takes longer to be called.
LEAST = 4096
#: Numbers that one thread computes in a row.
CHUNK = 2**19


def elu_(x: Tensor) -> Tensor:
    """
    Replace numbers by their ELU, with a gradient where autograd records.

    :param x: of any shape; nobody may need what it was
    """
    # Traced first of all: a number of rows that is compared is no longer any number.
    if is_traced() or x.numel() < LEAST or not kernels.uses_numba(x) or not _is_dense(x):
        return F.elu_(x)
    if x.requires_grad and th.is_grad_enabled():
        return Elu.apply(x)
    _forward(x)
    return x


def biased_(x: Tensor, bias: Tensor) -> Tensor:
    """
    Replace numbers by the ELU of their sums with a bias, without a gradient.

    :param x: (N, M)
    :param bias: (M,)
    """
    if not kernels.uses_numba(x) or not (x.is_contiguous() and bias.is_contiguous()):
        return F.elu_(x.add_(bias))
    if bias.shape != x.shape[1:]:
        raise ValueError(f"A bias {tuple(bias.shape)} of numbers {tuple(x.shape)}.")
    kernels.compiled.elu_biased(x.detach().numpy(), bias.detach().numpy())
    return x


def slope(grad: Tensor, result: Tensor, out: Tensor | None = None) -> Tensor:
    """
    Multiply a gradient by the slope of the ELU, which its result tells.

    :param grad: of the result, of its shape, or one row for all
    :param result: of :func:`elu_`, (N, M)
    :param out: where to, which may be the gradient; None: new memory
    """
    out = th.empty_like(result) if out is None else out
    if kernels.uses_numba(result) and all(x.is_contiguous() for x in (grad, result, out)):
        shape = tuple(result.shape)
        if tuple(grad.shape) not in (shape, (1, *shape[1:])) or out.shape != shape:
            raise ValueError(
                f"A gradient {tuple(grad.shape)} of a result {shape}, into {tuple(out.shape)}."
            )
        kernels.compiled.elu_slope(*(x.detach().numpy() for x in (grad, result, out)))
        return out
    whole = grad.expand_as(result)
    return th.ops.aten.elu_backward.grad_input(whole, 1.0, 1.0, 1.0, True, result, grad_input=out)


class Elu(th.autograd.Function):
    """:func:`elu_` where autograd records."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        _forward(x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        if grad.stride() != result.stride():
            grad = th.empty_like(result).copy_(grad)
        out = th.empty_like(result)
        _by_chunks(kernels.compiled.elu_slope, grad, result, out)
        return out


def _forward(x: Tensor) -> None:
    _by_chunks(kernels.compiled.elu, x)


def _by_chunks(kernel: Any, *tensors: Tensor) -> None:
    """Let threads compute some numbers each, of tensors that lie in memory alike."""
    flat = [_flat(x).numpy() for x in tensors]
    size = flat[0].shape[1]
    chunks = [slice(i, i + CHUNK) for i in range(0, size, CHUNK)]
    map_pieces(lambda chunk: kernel(*(x[:, chunk] for x in flat)), chunks, tensors[0].device)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=th.channels_last)


def _flat(x: Tensor) -> Tensor:
    """View numbers in the order in which they lie in memory, (1, size)."""
    x = x.detach()
    return (x if x.is_contiguous() else x.permute(0, 2, 3, 1)).view(1, -1)
