"""Several LSTM layers that all see the input, and whose hidden states are all an output."""

from typing import NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.settings import Whole, read_settings


class Hidden(NamedTuple):
    """
    State of a :class:`DeepLSTM`.

    :param output: hidden states of all layers side by side, (n, L * H)
    :param cell: their cells, (n, L * H)
    """

    output: Tensor
    cell: Tensor


class DeepLSTM(nn.Module):
    """
    Stacked LSTM with skip connections (MERLIN, Methods): every layer also reads the input.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.memory import DeepLSTM
        >>> lstm = DeepLSTM(in_dim=5, units=8, layers=2)
        >>> lstm(torch.zeros(4, 5), lstm.initial(4)).output.shape
        torch.Size([4, 16])

    :param in_dim: width of the input
    :param units: width H of a layer
    :param layers: number L
    :raises ValueError: for what is no whole number from 1
    """

    def __init__(self, in_dim: int, units: int, layers: int = 2) -> None:
        super().__init__()
        sizes = {"in_dim": in_dim, "units": units, "layers": layers}
        read_settings(type(self).__name__, dict.fromkeys(sizes, Whole(1)), sizes)
        widths = [in_dim, *[in_dim + units] * (layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(width, units) for width in widths)
        self.units = units
        self.out_dim = layers * units

    def initial(self, n: int) -> Hidden:
        """Return the zero state, n rows."""
        zeros = next(self.parameters()).new_zeros(n, self.out_dim)
        return Hidden(zeros, zeros)

    def forward(self, x: Tensor, state: Hidden) -> Hidden:
        """
        Advance by one step.

        :param x: input, (n, in_dim)
        :param state: before it
        """
        outputs: list[Tensor] = []
        cells: list[Tensor] = []
        parts = zip(*(part.split(self.units, dim=-1) for part in state), strict=True)
        for layer, (output, cell) in zip(self.cells, parts, strict=True):
            seen = th.cat([x, outputs[-1]], dim=-1) if outputs else x
            output, cell = layer(seen, (output, cell))
            outputs.append(output)
            cells.append(cell)
        return Hidden(th.cat(outputs, dim=-1), th.cat(cells, dim=-1))
