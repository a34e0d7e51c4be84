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

from dreamzoo.nn.fast import one_hots
from dreamzoo.nn.fast.pieces import CACHED_ROWS
from dreamzoo.nn.fast.threads import map_pieces


class Twice(th.autograd.Function):
    """
    Linear layers, each but the last with an ELU, to one number a row; the numbers come two times.

    Arguments: rows (N, in), which inputs are one-hot vectors or None, and weight and bias of every
    layer in turn. Results: the numbers (N,) with the gradient of the rows alone, and the same
    numbers with that of weights and biases alone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, ones: slice | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
        into_x, _, *of_weights = ctx.needs_input_grad
        learns = any(of_weights)
        layers = [*zip(weights[::2], weights[1::2], strict=True)]
        *body, (out_weight, out_bias) = layers
        numbers, slopes = x.new_empty(len(x)), th.empty_like(x) if into_x else None
        kept = [x.new_empty(len(x), len(w)) for w, _ in body] if learns else []
        units = [th.empty_like(hidden) for hidden in kept]

        def pass_rows(piece: tuple[slice, Tensor]) -> None:
            where, rows = piece
            hidden = [rows]
            for i, (weight, bias) in enumerate(body):
                known = ones if i == 0 else None
                hidden.append(_hidden(hidden[-1], weight, bias, known))
                if learns:
                    kept[i][where] = hidden[-1]
            numbers[where] = th.addmv(out_bias, hidden[-1], out_weight[0])
            if not (learns or into_x):
                return
            slope = out_weight.expand(len(rows), -1)
            for i in reversed(range(len(body))):
                slope = th.ops.aten.elu_backward(slope, 1.0, 1.0, 1.0, True, hidden[i + 1])
                if learns:
                    units[i][where] = slope
                if i or slopes is not None:
                    slope = slope @ body[i][0]
            if slopes is not None:
                slopes[where] = slope

        _by_pieces(pass_rows, x)
        ctx.learns, ctx.layers = learns, len(layers)
        ctx.save_for_backward(*((x,) if learns else ()), *kept, *units)
        ctx.slopes = slopes
        ctx.set_materialize_grads(False)
        return numbers, numbers.clone()

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, to_x: Tensor | None, to_weights: Tensor | None) -> tuple[Any, ...]:
        into_x = None if to_x is None or ctx.slopes is None else to_x[:, None] * ctx.slopes
        if to_weights is None or not ctx.learns:
            return into_x, None, *[None] * (2 * ctx.layers)
        x, *rest = ctx.saved_tensors
        kept, units = rest[: ctx.layers - 1], rest[ctx.layers - 1 :]
        inputs = [x, *kept]
        grads: list[Tensor] = []
        for before, unit in zip(inputs, units, strict=False):
            weight, bias = (
                unit.new_zeros(unit.shape[1], before.shape[1]),
                unit.new_zeros(len(unit[0])),
            )
            for rows in _slices(len(x)):
                error = unit[rows] * to_weights[rows, None]
                weight.addmm_(error.t(), before[rows])
                bias += error.sum(0)
            grads += [weight, bias]
        last = inputs[-1].t() @ to_weights
        return into_x, None, *grads, last[None], to_weights.sum()[None]


def _hidden(rows: Tensor, weight: Tensor, bias: Tensor, ones: slice | None) -> Tensor:
    if ones is None:
        return th.nn.functional.elu_(th.addmm(bias, rows, weight.t()))
    return th.nn.functional.elu_(one_hots.linear(rows, weight, bias, ones))


def _slices(rows: int) -> Sequence[slice]:
    return [slice(i, min(i + CACHED_ROWS, rows)) for i in range(0, rows, CACHED_ROWS)]


def _by_pieces(function: Any, x: Tensor) -> None:
    map_pieces(function, [(where, x[where]) for where in _slices(len(x))], x.device)
