"""
Stacks of linear layers with an ELU each, with their gradient written by hand.

Some rows pass through all layers before others do, forward and back, so that their hidden units are
still in the cache; biases are added where the ELU is computed, and no step of it needs memory of
its own. The plain form is the modules one after the other.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch as th
from torch import Tensor

from dreamzoo.nn.fast import elus, kernels, memory
from dreamzoo.nn.fast.precision import current
from dreamzoo.nn.fast.switch import is_traced
from dreamzoo.nn.fast.threads import map_pieces

#: Rows that pass together; of fewer than one such piece, layers are left to torch.
ROWS = 512
#: Parts in which weight gradients are summed; the most threads that can do it.
PARTS = 2


def is_worth(x: Tensor) -> bool:
    """
    Return whether rows (..., in) go through the form that is written by hand.

    :param x: what the first layer reads
    """
    if is_traced():  # first of all: a number of rows that is compared is no longer any number
        return False
    many = x.numel() >= ROWS * max(x.shape[-1], 1)
    return many and kernels.uses_numba(x) and current() == "fp32"


class Dense(th.autograd.Function):
    """
    A stack of layers.

    Arguments: rows (N, in), weight (out, in) and bias (out,) of every layer in turn. The result is
    what the last ELU returns, (N, out).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        layers = [*zip(weights[::2], weights[1::2], strict=True)]
        kept = [memory.empty(x, len(x), len(bias)) for bias in weights[1::2]]

        def pass_rows(rows: slice) -> None:
            hidden = x[rows]
            for (weight, bias), units in zip(layers, kept, strict=True):
                hidden = elus.biased_(th.mm(hidden, weight.t(), out=units[rows]), bias)

        map_pieces(pass_rows, _pieces(len(x)), x.device)
        ctx.save_for_backward(x, *weights[::2], *kept)
        return kept[-1]

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        weights, kept = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        inputs, grad = [x, *kept], grad.contiguous()
        into_x = memory.empty(x, *x.shape) if ctx.needs_input_grad[0] else None
        learns = any(ctx.needs_input_grad[1:])

        def part_back(pieces: Sequence[slice]) -> list[Tensor]:
            sums: list[Tensor] = []
            for rows in pieces:
                found: list[Tensor] = []
                slope = grad[rows]
                for i in reversed(range(len(weights))):
                    # The gradient that was given is not ours to overwrite.
                    own = None if i == len(weights) - 1 else slope
                    slope = elus.slope(slope, kept[i][rows], own)
                    if learns and sums:
                        sums[2 * i].addmm_(slope.t(), inputs[i][rows])
                        sums[2 * i + 1] += slope.sum(0)
                    elif learns:
                        found = [slope.t() @ inputs[i][rows], slope.sum(0), *found]
                    if i:
                        slope = slope @ weights[i]
                    elif into_x is not None:
                        th.mm(slope, weights[0], out=into_x[rows])
                sums = sums or found
            return sums

        pieces = _pieces(len(x))
        first, *others = map_pieces(
            part_back, [pieces[i::PARTS] for i in range(min(PARTS, len(pieces)))], x.device
        )
        for other in others if learns else ():
            th._foreach_add_(first, other)
        return into_x, *(first if learns else [None] * (2 * len(weights)))


def _pieces(rows: int) -> list[slice]:
    """Split rows evenly: a piece of few rows takes longer than they do in larger ones."""
    count = max(round(rows / ROWS), 1)
    ends = [rows * i // count for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]
