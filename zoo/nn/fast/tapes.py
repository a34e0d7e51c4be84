"""
Hidden layers with their gradient written by hand.

A *tape* is evaluated piece by piece and keeps what the gradient needs in tensors that hold all
pieces. That leaves out most of what autograd would do for a small layer: its RMS norm alone is
six operations forward and a dozen back.
"""

from collections.abc import Sequence
from typing import Any

import torch as th
from torch import Tensor

from dreamzoo.nn.fast import products
from dreamzoo.nn.fast.kernels import norm_silu, norm_silu_backward
from dreamzoo.nn.fast.threads import map_pieces

#: Weight (out, in), bias and norm scale of a layer.
Layer = tuple[Tensor, Tensor, Tensor]
#: Rows (n, in) and where among all rows they lie.
Piece = tuple[slice, Tensor]
#: Parts in which weight gradients are summed; the most threads that can do it.
PARTS = 4


class StackTape:
    """
    A stack of linear, norm, SiLU layers, evaluated some rows at a time.

    :param layers: weight (out, in), bias and scale of every layer
    :param rows: N
    """

    def __init__(self, layers: list[Layer], rows: int) -> None:
        # Weights may be rounded: their own gradients are nevertheless float32.
        self.layers = [
            (products.prepared(w.detach(), rows), b.detach(), s.detach()) for w, b, s in layers
        ]
        self.rows = rows
        self.pre = [s.new_empty(rows, len(s)) for _, _, s in self.layers]
        self.hidden = [s.new_empty(rows, len(s)) for _, _, s in self.layers]
        self.pieces: list[Piece] = []

    def read(self, rows: Tensor) -> Tensor:
        """Round rows (N, in) that several stacks will read, if this one would."""
        return rows.to(self.layers[0][0].dtype) if self.layers else rows

    def plan(self, pieces: Sequence[Tensor]) -> list[Piece]:
        """Give further pieces (n, in) their place; they are then evaluated in any order."""
        start = self.pieces[-1][0].stop if self.pieces else 0
        planned = []
        for x in pieces:
            planned.append((slice(start, start + len(x)), x))
            start += len(x)
        self.pieces += planned
        return planned

    def join(self, rows: Tensor) -> None:
        """
        Go back through all pieces as one, where a launch costs more than a miss of the cache.

        :param rows: all pieces in the order of their plan (N, in)
        """
        self.pieces = [(slice(0, len(rows)), rows)]

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the next n rows, (n, in) to (n, out)."""
        return self.evaluate(*self.plan([x]))

    def evaluate(self, piece: Piece) -> Tensor:
        """Evaluate a planned piece."""
        slot, x = piece
        for (weight, bias, scale), pre, hidden in zip(
            self.layers, self.pre, self.hidden, strict=True
        ):
            products.addmm(bias, x, weight.t(), out=pre[slot])
            x = norm_silu(pre[slot], scale[None], hidden[slot])
        return x

    def backward(self, grad: Tensor, into_x: bool) -> tuple[Tensor | None, list[Tensor]]:
        """
        Go back through all rows.

        :param grad: of the result, (N, out)
        :param into_x: whether the gradient of what was evaluated is wanted
        :return: that gradient or None, and those of all weights, biases and scales in turn
        """
        x_grad = grad.new_empty(self.rows, self.layers[0][0].shape[1]) if into_x else None
        grad = grad.contiguous()

        if len(self.pieces) == 1 and grad.device.type != "cpu":
            return x_grad, self._whole_backward(grad, x_grad)

        def part_backward(pieces: list[Piece]) -> list[Tensor]:
            grads = [th.zeros_like(x, dtype=grad.dtype) for layer in self.layers for x in layer]
            for piece in pieces:
                self._piece_backward(piece, grad, x_grad, grads)
            return grads

        # Sums over a few parts, so that the result does not depend on the number of threads.
        parts = [self.pieces[i::PARTS] for i in range(min(PARTS, len(self.pieces)))]
        first, *others = map_pieces(part_backward, parts, grad.device)
        for other in others:
            th._foreach_add_(first, other)
        return x_grad, first

    def _whole_backward(self, grad: Tensor, x_grad: Tensor | None) -> list[Tensor]:
        """Go back through all rows at once: nothing has to be added up."""
        grads: list[Tensor] = []
        widths = [len(scale) for _, _, scale in self.layers for _ in range(2)]
        sums = list(grad.new_zeros(sum(widths)).split(widths))
        for i in reversed(range(len(self.layers))):
            weight, _, scale = self.layers[i]
            bias_grad, scale_grad = sums[2 * i : 2 * i + 2]
            grad = norm_silu_backward(
                self.pre[i], scale[None], grad, scale_grad[None], bias_grad=bias_grad
            )
            x = self.hidden[i - 1] if i else self.pieces[0][1]
            grads = [products.mm(grad.t(), x), bias_grad, scale_grad, *grads]
            if i:
                grad = products.mm(grad, weight)
            elif x_grad is not None:
                products.mm(grad, weight, out=x_grad)
        return grads

    def _piece_backward(
        self, piece: Piece, grad: Tensor, x_grad: Tensor | None, grads: list[Tensor]
    ) -> None:
        slot, x = piece
        into = grad[slot]
        for i in reversed(range(len(self.layers))):
            weight, _, scale = self.layers[i]
            weight_grad, bias_grad, scale_grad = grads[3 * i : 3 * i + 3]
            into = norm_silu_backward(
                self.pre[i][slot], scale[None], into, scale_grad[None], bias_grad=bias_grad
            )
            products.addmm_(weight_grad, into.t(), self.hidden[i - 1][slot] if i else x)
            if i:
                into = products.mm(into, weight)
            elif x_grad is not None:
                products.mm(into, weight, out=x_grad[slot])


class Stack(th.autograd.Function):
    """
    Attach the gradient of a stack to what its tape has evaluated.

    Arguments: the tape, the rows it has evaluated or None if their gradient is not wanted, and
    the weight, bias and scale of every layer.
    """

    @staticmethod
    def forward(ctx: Any, tape: StackTape, x: Tensor | None, *weights: Tensor) -> Tensor:
        ctx.tape = tape
        return tape.hidden[-1].detach()  # the tensor itself would refer to its own history: a leak

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_grad, weights = ctx.tape.backward(grad, ctx.needs_input_grad[1])
        return None, x_grad, *weights
