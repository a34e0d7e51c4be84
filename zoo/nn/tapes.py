"""
Hidden layers with their gradient written by hand.

A *tape* is evaluated piece by piece and keeps what the gradient needs in tensors that hold all
pieces. That leaves out most of what autograd would do for a small layer: its RMS norm alone is
six operations forward and a dozen back.
"""

from typing import Any

import torch as th
from torch import Tensor

#: Added to the mean square inside the root (reference nets.py, Norm); torch's default differs.
NORM_EPS = 1e-4
#: Index of a piece of a tape: a step, or some rows.
Slot = int | slice
#: Weight (out, in), bias and norm scale of a layer.
Layer = tuple[Tensor, Tensor, Tensor]


class NormSilu:
    """
    SiLU of an RMS norm, piece by piece, with all that its gradient needs.

    A *slot* is what indexes a piece: a step of a sequence, or a slice of rows.

    :param like: any tensor of the wanted dtype and device
    :param shape: of everything together, (..., n)
    :param scale: weight of the norm; its shape is that of the last axes
    """

    def __init__(self, like: Tensor, shape: tuple[int, ...], scale: Tensor) -> None:
        self.scale = scale
        self.inverse = like.new_empty(*shape[:-1], 1)  # 1 / root mean square
        self.unit = like.new_empty(shape)  # x / root mean square
        self.normed = like.new_empty(shape)
        self.grad = like.new_empty(0)  # of normed

    def forward(self, slot: Slot, x: Tensor, out: Tensor) -> Tensor:
        """Activate x (..., n); ``out`` may be x itself."""
        inverse, unit, normed = self.inverse[slot], self.unit[slot], self.normed[slot]
        th.mean(th.mul(x, x, out=unit), -1, keepdim=True, out=inverse)
        inverse.add_(NORM_EPS).rsqrt_()
        th.mul(th.mul(x, inverse, out=unit), self.scale, out=normed)
        return th.ops.aten.silu.out(normed, out=out)

    def backward(self, slot: Slot, grad: Tensor, out: Tensor) -> Tensor:
        """Turn the gradient of the output into that of the input, written to ``out``."""
        if not len(self.grad):
            self.grad = th.empty_like(self.normed)
        normed = self.normed[slot]
        g = th.ops.aten.silu_backward.grad_input(grad, normed, grad_input=self.grad[slot])
        along = (g * normed).mean(-1, keepdim=True)
        th.mul(g, self.scale, out=out)
        return out.addcmul_(self.unit[slot], along, value=-1).mul_(self.inverse[slot])

    def scale_grad(self) -> Tensor:
        """Sum the weight's gradient over all pieces."""
        product = self.grad.mul_(self.unit)
        return product.sum(dim=tuple(range(product.dim() - self.scale.dim())))


class StackTape:
    """
    A stack of linear, norm, SiLU layers, evaluated a few hundred rows at a time.

    :param layers: weight (out, in), bias and scale of every layer
    :param rows: N
    """

    def __init__(self, layers: list[Layer], rows: int) -> None:
        self.layers, self.rows = layers, rows
        like = layers[0][0]
        self.norms = [NormSilu(like, (rows, len(scale)), scale) for _, _, scale in layers]
        self.hidden = [like.new_empty(rows, len(scale)) for _, _, scale in layers]
        self.pieces: list[tuple[slice, Tensor]] = []  # what was evaluated where

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the next n rows, (n, in) to (n, out)."""
        start = self.pieces[-1][0].stop if self.pieces else 0
        slot = slice(start, start + len(x))
        self.pieces.append((slot, x))
        for (weight, bias, _), norm, hidden in zip(
            self.layers, self.norms, self.hidden, strict=True
        ):
            out = th.addmm(bias, x, weight.t(), out=hidden[slot])
            x = norm.forward(slot, out, out)
        return x

    def backward(self, grad: Tensor, into_x: bool) -> tuple[Tensor | None, list[Tensor]]:
        """
        Go back through all rows.

        :param grad: of the result, (N, out)
        :param into_x: whether the gradient of what was evaluated is wanted
        :return: that gradient or None, and those of all weights, biases and scales in turn
        """
        weights = [th.zeros_like(weight) for weight, _, _ in self.layers]
        biases = [th.zeros_like(bias) for _, bias, _ in self.layers]
        x_grad = grad.new_empty(self.rows, self.layers[0][0].shape[1]) if into_x else None
        for slot, x in self.pieces:
            into = grad[slot]
            for i in reversed(range(len(self.layers))):
                into = self.norms[i].backward(slot, into, th.empty_like(self.hidden[i][slot]))
                weights[i].addmm_(into.t(), self.hidden[i - 1][slot] if i else x)
                biases[i].add_(into.sum(0))
                if i:
                    into = into @ self.layers[i][0]
                elif x_grad is not None:
                    th.mm(into, self.layers[0][0], out=x_grad[slot])
        scales = [norm.scale_grad() for norm in self.norms]
        return x_grad, [g for layer in zip(weights, biases, scales, strict=True) for g in layer]


class Stack(th.autograd.Function):
    """
    Attach the gradient of a stack to what its tape has evaluated.

    Arguments: the tape, the rows it has evaluated or None if their gradient is not wanted, and
    the weight, bias and scale of every layer.
    """

    @staticmethod
    def forward(ctx: Any, tape: StackTape, x: Tensor | None, *weights: Tensor) -> Tensor:
        ctx.tape = tape
        return tape.hidden[-1]

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_grad, weights = ctx.tape.backward(grad, ctx.needs_input_grad[1])
        return None, x_grad, *weights
