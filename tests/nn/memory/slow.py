"""Memory and LSTM of one episode once more: numbers and loops, in float64, from the paper."""

import math
from collections.abc import Mapping
from copy import copy

import torch as th
from torch import Tensor

EPS = 1e-6


class SlowMemory:
    """
    N rows of two halves, of which nothing is shared with another episode.

    :param rows: number N
    :param width: of a value
    :param gamma: discount of what follows; None: rows have one half
    :param masks: whether rows that were never written are not read
    """

    def __init__(self, rows: int, width: int, gamma: float | None, *, masks: bool = True) -> None:
        nothing = th.zeros(width).double()
        self.n, self.gamma, self.masks = rows, gamma, masks
        self.values: list[Tensor] = [nothing] * rows
        self.follow: list[Tensor] = [nothing] * rows
        self.usage = [0.0] * rows
        self.trace = [0.0] * rows
        self.newest = [0.0] * rows
        self.written = 0

    def copy(self) -> "SlowMemory":
        """Return one that may be written without a change of this one."""
        return copy(self)  # lists are replaced, never changed

    def detach(self) -> "SlowMemory":
        """Return one whose rows are constants."""
        other = self.copy()
        other.values = [x.detach() for x in self.values]
        other.follow = [x.detach() for x in self.follow]
        return other

    def row(self, i: int) -> Tensor:
        if self.gamma is None:
            return self.values[i]
        return th.cat([self.values[i], self.follow[i]])

    def read(self, key: Tensor, strength: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return one read and the weights of all rows."""
        rows = [self.row(i) for i in range(self.n)]
        exps = []
        for i, row in enumerate(rows):
            if self.masks and i >= self.written:
                exps.append(th.zeros(()).double())
                continue
            norms = key.square().sum().sqrt().clamp(EPS), row.square().sum().sqrt().clamp(EPS)
            exps.append((strength * (key * row).sum() / norms[0] / norms[1]).exp())
        total = sum(exps, th.zeros(()).double())
        if self.masks and not self.written:
            return th.zeros_like(rows[0]), exps
        weights = [x / total for x in exps]
        parts = [w * row for w, row in zip(weights, rows, strict=True)]
        return sum(parts, th.zeros_like(rows[0])), weights

    def write(self, value: Tensor, weights: list[list[Tensor]]) -> None:
        """Write a value, having read with these weights since the last one."""
        for head in weights:
            self.usage = [u + float(w.detach()) for u, w in zip(self.usage, head, strict=True)]
        i = self.written
        overwrites = i >= self.n
        if overwrites:
            i = min(range(self.n), key=self.usage.__getitem__)
        if self.gamma is not None:
            pairs = zip(self.trace, self.newest, strict=True)
            self.trace = [self.gamma * a + (1 - self.gamma) * b for a, b in pairs]
        if overwrites:
            self.values, self.follow = [*self.values], [*self.follow]
            self.values[i] = self.follow[i] = th.zeros_like(value)
            mean = math.fsum(self.usage) / self.n
            self.usage = [mean if j == i else u for j, u in enumerate(self.usage)]
            self.trace = [0.0 if j == i else x for j, x in enumerate(self.trace)]
        self.values = [x + value if j == i else x for j, x in enumerate(self.values)]
        pairs_ = zip(self.follow, self.trace, strict=True)
        self.follow = [x + share * value for x, share in pairs_]
        self.newest = [float(j == i) for j in range(self.n)]
        self.written += 1


def lstm_step(
    w: Mapping[str, Tensor], name: str, x: Tensor, outputs: list[Tensor], cells: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """
    Advance LSTMs with skip connections by one step, one layer after the other.

    :param w: weights
    :param name: of the LSTM, what comes before ``cells.<layer>``
    :param x: input, (in,)
    :param outputs: hidden state of every layer, (H,) each
    :param cells: the same of their cells
    """
    new_outputs: list[Tensor] = []
    new_cells: list[Tensor] = []
    for layer, (output, cell) in enumerate(zip(outputs, cells, strict=True)):
        at = f"{name}cells.{layer}"
        seen = x if layer == 0 else th.cat([x, new_outputs[-1]])
        gates = w[f"{at}.weight_ih"] @ seen + w[f"{at}.bias_ih"]
        i, f, g, o = (gates + w[f"{at}.weight_hh"] @ output + w[f"{at}.bias_hh"]).chunk(4)
        new_cells.append(th.sigmoid(f) * cell + th.sigmoid(i) * th.tanh(g))
        new_outputs.append(th.sigmoid(o) * th.tanh(new_cells[-1]))
    return new_outputs, new_cells
