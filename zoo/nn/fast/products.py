"""
Products of numbers rounded to bf16, where :mod:`dreamzoo.nn.fast.precision` asks for that.

torch's own switches do not reach far enough: on CUDA they know no bf16, on a CPU only processors
with matrix tiles heed them. So factors are rounded here, where that takes less time than it saves.
Everything is float32 before and after, and within every product its sums are; on a CPU a sum is
rounded once more. What a convolution returns stays bf16, and whatever follows it widens that.

Without bf16 every function here is torch's own of the same name.
"""

from typing import Any

import torch as th
from torch import Tensor

from dreamzoo.nn.fast.precision import current

#: Smallest side (rows, sums, columns) of a product whose factors are worth rounding, by device
#: type: on a CPU rounding a number takes as long as a score of its products; a GPU rounds in
#: launches of their own, which take as long as products of a network of size 12m.
SMALLEST_SIDE = {"cpu": 32, "cuda": 1024}
#: torch on ROCm has no products of bf16 with a result of float32.
_WIDENS = th.version.hip is None


def narrow(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Round what a convolution reads, with a gradient, if its products shall be of bf16."""
    if current() != "bf16":
        return tensors
    return tuple(x if x is None else x.to(th.bfloat16) for x in tensors)


def wide(x: Tensor) -> Tensor:
    """Make bf16 float32 again, with a gradient; anything else stays as it is."""
    return x.float() if x.dtype is th.bfloat16 else x


def prepared(weight: Tensor, rows: int, times: int = 1) -> Tensor:
    """
    Round a weight once for many products, if that is worth while; a rounded factor rounds others.

    :param weight: (..., K, M) or transposed
    :param rows: of one product
    :param times: products that will read it
    """
    if current() != "bf16":
        return weight
    all_rows = rows if weight.is_cuda else rows * times  # on CUDA every product pays its launches
    return weight.to(th.bfloat16) if _is_worth(weight, all_rows, *weight.shape[-2:]) else weight


def addmm(bias: Tensor, x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``bias + x @ y``, float32; of x (N, K) and y (K, M)."""
    # Acting calls this a dozen times a step, and would notice one function more.
    plain = current() != "bf16" and x.dtype is th.float32 and y.dtype is th.float32
    if plain or not _narrows(x, y):
        return th.addmm(bias, x, y) if out is None else th.addmm(bias, x, y, out=out)
    if x.is_cuda and _WIDENS:
        return mm(x, y, out=out).add_(bias)
    return th.add(th.mm(x.to(th.bfloat16), y.to(th.bfloat16)), bias, out=out)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``x @ weight.T + bias``, float32; of x (N, K) and weight (M, K)."""
    if current() != "bf16" and x.dtype is th.float32:
        return th.nn.functional.linear(x, weight, bias)
    return addmm(bias, x, weight.t())


def addmm_(total: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Add ``x @ y`` to a total of float32."""
    return total.add_(mm(x, y)) if _narrows(x, y) else total.addmm_(x, y)


def mm(x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``x @ y``, float32; of x (N, K) and y (K, M)."""
    return _multiply(th.mm, x, y, out)


def bmm(x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``x @ y``, float32; of x (g, N, K) and y (g, K, M)."""
    return _multiply(th.bmm, x, y, out)


def _multiply(multiply: Any, x: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    if not _narrows(x, y):
        return multiply(x, y) if out is None else multiply(x, y, out=out)
    x, y = x.to(th.bfloat16), y.to(th.bfloat16)
    if x.is_cuda and _WIDENS:
        wide = {"out_dtype": th.float32}
        return multiply(x, y, **wide) if out is None else multiply(x, y, **wide, out=out)
    product = multiply(x, y)
    return product.float() if out is None else out.copy_(product)


def _narrows(x: Tensor, y: Tensor) -> bool:
    """Return whether a product rounds its factors: always if one of them is rounded already."""
    if x.dtype is th.bfloat16 or y.dtype is th.bfloat16:
        return True
    return current() == "bf16" and _is_worth(x, *x.shape[-2:], y.shape[-1])


def _is_worth(x: Tensor, *sides: int) -> bool:
    return min(sides) >= SMALLEST_SIDE[x.device.type]
