"""
Networks that predict one number for every row, with two gradients from one pass.

A critic is asked twice about the same states: what are they worth, for the actor, whose gradient
passes through the states; and what does it have to learn, with the gradient of its weights. Both
begin with the same pass forward; and since there is one output, both gradients are multiples of
the same one: how a row's hidden units change its number. Here it is computed once, some rows at a
time, as long as their hidden units are in a CPU's cache.

The plain form is :meth:`dreamzoo.nn.networks.world_models.NormalHead.twice`.
"""

from collections.abc import Sequence
from typing import Any

import torch as th
from torch import Tensor

from dreamzoo.nn.fast import elus, memory, one_hots
from dreamzoo.nn.fast.pieces import CACHED_ROWS
from dreamzoo.nn.fast.threads import map_pieces


class Twice(th.autograd.Function):
    """
    Linear layers, each but the last with an ELU, to one number a row; the numbers come two times.

    Arguments: rows (N, in), how many of them weights learn from, which inputs are one-hot vectors
    or None, and weight and bias of every layer in turn. Results: the numbers (N,) with the gradient
    of the rows alone, and those of the first rows with that of weights and biases alone.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, learned: int, ones: slice | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        into_x, _, _, *of_weights = ctx.needs_input_grad
        learns = any(of_weights)
        layers = [*zip(weights[::2], weights[1::2], strict=True)]
        *body, (out_weight, out_bias) = layers
        numbers, slopes = x.new_empty(len(x)), memory.empty(x, *x.shape) if into_x else None
        kept, units = (
            [memory.empty(x, learned, len(w)) if learns else None for w, _ in body]
            for _ in range(2)
        )

        def pass_rows(piece: tuple[slice, Tensor]) -> None:
            where, rows = piece
            hidden = [rows]
            for i, (weight, bias) in enumerate(body):
                known = ones if i == 0 else None
                hidden.append(_hidden(hidden[-1], weight, bias, known, _part(kept[i], where)))
            numbers[where] = th.addmv(out_bias, hidden[-1], out_weight[0])
            if not into_x and not (learns and where.stop <= learned):
                return
            slope = out_weight
            for i in reversed(range(len(body))):
                slope = elus.slope(slope, hidden[i + 1], _part(units[i], where))
                if i:
                    slope = slope @ body[i][0]
                elif slopes is not None:
                    th.mm(slope, body[0][0], out=slopes[where])

        pieces = [*_slices(0, learned), *_slices(learned, len(x))]
        map_pieces(pass_rows, [(where, x[where]) for where in pieces], x.device)
        ctx.learns, ctx.layers = learns, len(layers)
        ctx.save_for_backward(*((x, *kept, *units) if learns else ()))
        ctx.slopes = slopes
        ctx.set_materialize_grads(False)
        return numbers, numbers[:learned].clone()

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, to_x: Tensor | None, to_weights: Tensor | None) -> tuple[Any, ...]:
        into_x = None
        if to_x is not None and ctx.slopes is not None:
            out = memory.empty(ctx.slopes, *ctx.slopes.shape)
            into_x = th.mul(ctx.slopes, to_x[:, None], out=out)
        if to_weights is None or not ctx.learns:
            return into_x, None, None, *[None] * (2 * ctx.layers)
        x, *rest = ctx.saved_tensors
        kept, units = rest[: ctx.layers - 1], rest[ctx.layers - 1 :]
        inputs = [x[: len(to_weights)], *kept]
        grads: list[Tensor] = []
        for before, unit in zip(inputs, units, strict=False):
            weight, bias = (
                unit.new_zeros(unit.shape[1], before.shape[1]),
                unit.new_zeros(len(unit[0])),
            )
            for rows in _slices(0, len(to_weights)):
                error = unit[rows] * to_weights[rows, None]
                weight.addmm_(error.t(), before[rows])
                bias += error.sum(0)
            grads += [weight, bias]
        last = inputs[-1].t() @ to_weights
        return into_x, None, None, *grads, last[None], to_weights.sum()[None]


def _part(whole: Tensor | None, where: slice) -> Tensor | None:
    """View some rows; None where they are not kept."""
    return None if whole is None or where.start >= len(whole) else whole[where]


def _hidden(
    rows: Tensor, weight: Tensor, bias: Tensor, ones: slice | None, out: Tensor | None
) -> Tensor:
    """Evaluate a layer, into given memory if there is some."""
    if ones is None:
        return elus.biased_(th.mm(rows, weight.t(), out=out), bias)
    hidden = elus.elu_(one_hots.linear(rows, weight, bias, ones))
    return hidden if out is None else out.copy_(hidden)


def _slices(first: int, last: int) -> Sequence[slice]:
    return [slice(i, min(i + CACHED_ROWS, last)) for i in range(first, last, CACHED_ROWS)]
