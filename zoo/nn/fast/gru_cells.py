"""
torch's GRU cell, with its gradient written by hand.

Both products are torch's. What follows them element by element takes autograd some 15 passes over
memory forward and back; here it takes one each way. The plain form is :class:`torch.nn.GRUCell`.
"""

from typing import Any

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import current
from dreamzoo.nn.fast.switch import is_traced

#: Fewer rows are left to torch: compiled functions take longer to be called.
LEAST_ROWS = 16


def is_worth(x: Tensor, deter: Tensor) -> bool:
    """
    Return whether a step goes through the form that is written by hand.

    :param x: inputs, (N, I)
    :param deter: memory, (N, D)
    """
    # Traced first of all: a number of rows that is compared is no longer any number.
    if is_traced() or x.dim() != 2 or deter.dim() != 2 or not LEAST_ROWS <= len(x) == len(deter):
        return False
    return kernels.uses_numba(x) and kernels.uses_numba(deter) and current() == "fp32"


class Cell(th.autograd.Function):
    """
    :class:`torch.nn.GRUCell`, one step.

    Arguments: inputs (N, I), memory (N, D), and weights and biases of both as the module has them,
    ``weight_ih``, ``weight_hh``, ``bias_ih`` and ``bias_hh``. The result is the next memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, deter: Tensor, *weights: Tensor) -> Tensor:
        deter = deter.contiguous()
        weight, own_weight, bias, own_bias = weights
        gates, own = th.addmm(bias, x, weight.t()), th.addmm(own_bias, deter, own_weight.t())
        out = th.empty_like(deter)
        kernels.compiled.gru_cell(*(x.detach().numpy() for x in (gates, own, deter, out)))
        ctx.save_for_backward(x, deter, weight, own_weight, gates, own)
        return out

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, deter, weight, own_weight, gates, own = ctx.saved_tensors
        into_gates, into_own, into_deter = (th.empty_like(x) for x in (gates, own, deter))
        given = gates, own, deter, grad.contiguous(), into_gates, into_own, into_deter
        kernels.compiled.gru_cell_backward(*(x.detach().numpy() for x in given))
        wanted = ctx.needs_input_grad
        return (
            into_gates @ weight if wanted[0] else None,
            into_deter.addmm_(into_own, own_weight) if wanted[1] else None,
            into_gates.t() @ x if wanted[2] else None,
            into_own.t() @ deter if wanted[3] else None,
            into_gates.sum(0) if wanted[4] else None,
            into_own.sum(0) if wanted[5] else None,
        )


def step(cell: nn.GRUCell, x: Tensor, deter: Tensor) -> Tensor:
    """
    Advance the memory of a cell.

    :param cell: with biases
    :param x: inputs, (N, I)
    :param deter: memory, (N, D)
    :return: next memory, (N, D)
    """
    if deter.shape[-1] != cell.hidden_size or not is_worth(x, deter):
        return nn.GRUCell.forward(cell, x, deter)
    weights = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
    return Cell.apply(x, deter, *weights)
