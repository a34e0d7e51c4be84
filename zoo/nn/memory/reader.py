"""A recurrent network that reads an external memory at every step."""

from typing import NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.memory.deep_lstm import DeepLSTM, Hidden
from dreamzoo.nn.memory.external import ExternalMemory, ReadHeads, Rows


class Reading(NamedTuple):
    """
    What a :class:`MemoryReader` knows.

    :param hidden: of its LSTM
    :param read: what that has read last, (n, K * W)
    """

    hidden: Hidden
    read: Tensor

    @property
    def context(self) -> Tensor:
        """Both side by side, (n, L * H + K * W)."""
        return th.cat([self.hidden.output, self.read], dim=-1)


class MemoryReader(nn.Module):
    """
    LSTM that asks a memory, and hears at the next step what it has read (MERLIN, figure 1).

    It writes nothing: whoever owns the memory does.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.memory import ExternalMemory, MemoryReader
        >>> memory = ExternalMemory(rows=8, width=3)
        >>> reader = MemoryReader(in_dim=5, units=16, layers=2, heads=1, memory=memory)
        >>> reading, weights = reader(torch.zeros(4, 5), reader.initial(4), memory.initial(4))
        >>> reading.context.shape, weights.shape
        (torch.Size([4, 38]), torch.Size([4, 1, 8]))

    :param in_dim: width of the input
    :param units: width H of an LSTM layer
    :param layers: number L of these
    :param heads: reads K at every step
    :param memory: that is read; None leaves reading out
    """

    def __init__(
        self, in_dim: int, units: int, layers: int, heads: int, memory: ExternalMemory | None
    ) -> None:
        super().__init__()
        width = 0 if memory is None else heads * memory.row_width
        self.lstm = DeepLSTM(in_dim + width, units, layers)
        self.heads = None if memory is None else ReadHeads(self.lstm.out_dim, heads, memory)
        self.read_dim, self.context_dim = width, self.lstm.out_dim + width

    def initial(self, n: int) -> Reading:
        """Return the state before an episode, n rows."""
        hidden = self.lstm.initial(n)
        return Reading(hidden, hidden.cell.new_zeros(n, self.read_dim))

    def forward(
        self, x: Tensor, state: Reading, rows: Rows | tuple[()]
    ) -> tuple[Reading, Tensor | None]:
        """
        Advance by one step, and read.

        :param x: input, (n, in_dim)
        :param state: before it
        :param rows: memory; an empty tuple without one
        :return: the state, and the weights of the rows in what was read, (n, K, N)
        """
        hidden = self.lstm(th.cat([x, state.read], dim=-1), state.hidden)
        if self.heads is None:
            return Reading(hidden, state.read), None
        assert isinstance(rows, Rows)
        reads = self.heads(hidden.output, rows)
        return Reading(hidden, reads.values.flatten(1)), reads.weights

    def weights(self, state: Reading, rows: Rows | tuple[()]) -> Tensor:
        """
        Return with which weights rows were read by what led to a state, (n, K, N).

        :param state: what :meth:`forward` returned
        :param rows: memory that it read
        :raises ValueError: if there is no memory
        """
        if self.heads is None or not isinstance(rows, Rows):
            raise ValueError("There is no memory that could have been read.")
        return self.heads(state.hidden.output, rows).weights

    @th.no_grad()
    def describe(self, state: Reading, rows: Rows | tuple[()]) -> dict[str, Tensor]:
        """
        Describe how that was read which led to a state, in numbers to be logged.

        Example:
            >>> import torch
            >>> from dreamzoo.nn.memory import ExternalMemory, MemoryReader
            >>> memory = ExternalMemory(rows=8, width=3)
            >>> rows = memory.write(memory.initial(4), torch.ones(4, 3))
            >>> reader = MemoryReader(in_dim=5, units=16, layers=2, heads=1, memory=memory)
            >>> state, _ = reader(torch.zeros(4, 5), reader.initial(4), rows)
            >>> sorted(reader.describe(state, rows))
            ['read_age', 'read_entropy', 'read_strength', 'rows_used']

        :param state: what :meth:`forward` returned
        :param rows: memory that it read; an empty tuple without one
        :return: ``read_entropy`` of the weights (n, K), in nats; ``read_age``, writes since the row
            that weighs most was written (n, K), see :meth:`ExternalMemory.ages`;
            ``read_strength`` (n, K); ``rows_used``, the share of the rows that hold something
            (n,). Nothing without a memory
        """
        if self.heads is None or not isinstance(rows, Rows):
            return {}
        weights, memory = self.weights(state, rows), self.heads.memory
        ages = memory.ages(rows).gather(1, weights.argmax(-1))
        return {
            "read_entropy": th.special.entr(weights).sum(-1),
            "read_age": ages.clamp(min=0.0),  # before anything was written
            "read_strength": self.heads.ask(state.hidden.output)[1],
            "rows_used": (rows.written / memory.rows).clamp(max=1.0),
        }
