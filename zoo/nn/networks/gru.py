"""Recurrent cells of the first two Dreamers."""

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.fast import gru_cells
from dreamzoo.nn.networks.world_models import GlorotLinear


class GRUCell(nn.GRUCell):
    """torch's cell (PlaNet, Dreamer V1), fast on a CPU: reset before, update weighs the memory."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:  # torch's names
        return super().forward(input, hx) if hx is None else gru_cells.step(self, input, hx)


class LayerNormGRU(nn.Module):
    """
    Gated recurrent cell of DreamerV2: one linear layer, one layer norm over all three of its parts.

    Two things differ from torch's cell. The reset gate multiplies the candidate after the linear
    layer, not the memory before it. The update gate weighs the *candidate* and carries a bias of
    -1, so that a new cell keeps most of what it remembers (``GRUCell`` of danijar/dreamerv2).

    :param in_dim: inputs
    :param deter: width D of the memory
    :param layer_norm: False leaves the norm out, an ablation of DreamerV2's table 2
    """

    UPDATE_BIAS = -1.0
    #: Keras' default, with which the authors trained; torch's is 1e-5.
    NORM_EPS = 1e-3

    def __init__(self, in_dim: int, deter: int, *, layer_norm: bool = True) -> None:
        super().__init__()
        self.linear = GlorotLinear(in_dim + deter, 3 * deter)
        self.norm = nn.LayerNorm(3 * deter, self.NORM_EPS) if layer_norm else nn.Identity()

    def forward(self, x: Tensor, deter: Tensor) -> Tensor:
        """
        Advance the memory.

        :param x: inputs, (N, I)
        :param deter: memory, (N, D)
        :return: next memory, (N, D)
        """
        parts = self.norm(self.linear(th.cat([x, deter], dim=-1)))
        reset, candidate, update = parts.chunk(3, dim=-1)
        candidate = th.tanh(th.sigmoid(reset) * candidate)
        return th.lerp(deter, candidate, th.sigmoid(update + self.UPDATE_BIAS))


@th.no_grad()
def init_like_keras_(cell: nn.GRUCell) -> None:
    """
    Initialize a GRU as Keras does, which Dreamer V1 uses and PlaNet does not.

    The kernel of all gates is one Glorot-uniform matrix, the recurrent one orthogonal, biases zero.

    :param cell: changed in place
    """
    nn.init.xavier_uniform_(cell.weight_ih)
    nn.init.orthogonal_(cell.weight_hh)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)
