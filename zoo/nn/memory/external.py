"""External memory of MERLIN: rows that are read by content and written one at a time."""

import math
from typing import NamedTuple

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.settings import Number, Whole, read_settings

#: Smallest norm of what is compared (Wayne et al., 2018: epsilon of the cosine).
NORM_EPS = 1e-6


class Rows(NamedTuple):
    """
    What a memory holds, for each of n batch rows; nothing of it is a parameter.

    :param content: what was written, (n, N, W)
    :param usage: reads of every row so far, (n, N)
    :param newest: one-hot, the row that was written last; zeros before that, (n, N)
    :param trace: weights with which the next value is added to what followed earlier ones, (n, N)
    :param written: values so far, (n,); at least float32, as bfloat16 cannot count beyond 256
    """

    content: Tensor
    usage: Tensor
    newest: Tensor
    trace: Tensor
    written: Tensor


class Reads(NamedTuple):
    """
    What reading yields.

    :param values: one for every key, (n, K, W)
    :param weights: of the rows in them, (n, K, N)
    """

    values: Tensor
    weights: Tensor


class ExternalMemory(nn.Module):
    """
    Memory of N rows, read by content, written one row at a time (MERLIN, Methods).

    A value takes a row of its own; the row's second half gathers what was written afterwards,
    discounted: the *retroactive* write. So reading an event finds what came of it. Row i holds

        [ z_i ; (1 - gamma) * sum over k > i of gamma^(k - i - 1) * z_k ]

    While there are unwritten rows the next of them is taken, then the one that was read least. That
    rule by itself would overwrite the same row again and again, as a new row has been read never:
    here, it begins with the mean usage of all rows. What the row had gathered is forgotten.

    The memory has no parameters and no state of its own: :class:`Rows` are passed in and returned.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.memory import ExternalMemory
        >>> memory = ExternalMemory(rows=4, width=2, retro_gamma=0.5)
        >>> rows = memory.initial(1)
        >>> for value in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]):
        ...     rows = memory.write(rows, torch.tensor([value]))
        >>> rows.content[0]  # each row, and what followed it
        tensor([[1.0000, 0.0000, 0.5000, 0.7500],
                [0.0000, 1.0000, 1.0000, 0.5000],
                [1.0000, 1.0000, 1.0000, 0.0000],
                [2.0000, 0.0000, 0.0000, 0.0000]])

    :param rows: number N
    :param width: of what is written
    :param retro_gamma: discount of what follows, in [0, 1); None: rows have no second half
    :param mask_unwritten: whether rows that were never written are left out of reading. Otherwise,
        as in the paper, each of them takes its share of the weight and returns zeros
    :raises ValueError: for a discount of 1, which gathers nothing, and for numbers of rows or a
        width that are no whole numbers from 1
    """

    def __init__(
        self,
        rows: int,
        width: int,
        retro_gamma: float | None = 0.96,
        *,
        mask_unwritten: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"rows": rows, "width": width}
        read_settings(type(self).__name__, dict.fromkeys(sizes, Whole(1)), sizes)
        if retro_gamma is not None and not 0.0 <= retro_gamma < 1.0:
            raise ValueError(
                f"retro_gamma={retro_gamma} must be at least 0 and below 1: what follows is "
                "weighted by 1 - retro_gamma. None leaves it out."
            )
        self.rows, self.width = rows, width
        self.retro_gamma, self.mask_unwritten = retro_gamma, mask_unwritten
        self.register_buffer("_index", th.arange(rows), persistent=False)
        #: Of the dtype and on the device of what is to be written.
        self.register_buffer("_zero", th.zeros(()), persistent=False)

    _index: Tensor
    _zero: Tensor

    @property
    def row_width(self) -> int:
        """Width W of a row: with what followed, twice that of a value."""
        return self.width if self.retro_gamma is None else 2 * self.width

    def initial(self, n: int) -> Rows:
        """Return n empty memories, of this module's dtype and on its device."""
        zeros = self._zero.new_zeros(n, self.rows)
        content = self._zero.new_zeros(n, self.rows, self.row_width)
        written = zeros[:, 0].to(th.promote_types(zeros.dtype, th.float32))
        return Rows(content, zeros, zeros, zeros, written)

    def read(self, rows: Rows, keys: Tensor, strengths: Tensor) -> Reads:
        """
        Read by content: rows weigh ``softmax(strength * cosine(key, row))``.

        The gradient reaches keys and strengths, and the content if it has one.

        :param rows: memory, read from a state in which nothing was written yet it returns zeros
        :param keys: (n, K, W)
        :param strengths: positive, which is not checked, (n, K)
        :raises ValueError: for other shapes
        """
        n = rows.content.shape[0]  # len() would fix the number in an exported graph
        _check_shape("rows.content", rows.content, n, self.rows, self.row_width)
        _check_shape("keys", keys, n, *keys.shape[1:2], self.row_width)
        _check_shape("strengths", strengths, *keys.shape[:2])
        along = F.normalize(keys, dim=-1, eps=NORM_EPS)
        norms = rows.content.norm(dim=-1).clamp(min=NORM_EPS)[:, None]
        scores = strengths[..., None] * (along @ rows.content.mT) / norms
        if self.mask_unwritten:
            known = (self._index < rows.written[:, None])[:, None]
            # Not minus infinity: of rows that are all unwritten a softmax would not be a number.
            scores = th.where(known, scores, th.finfo(scores.dtype).min)
            weights = scores.softmax(-1) * known
        else:
            weights = scores.softmax(-1)
        return Reads(weights @ rows.content, weights)

    def ages(self, rows: Rows) -> Tensor:
        """
        Count the writes since each row's own, (n, N); rows that were never written have no age.

        Once rows are overwritten, only a memory with retroactive writes can tell, by what has
        faded: without them, and at ``retro_gamma`` 0, ages are NaN then. They end where the
        smallest float32 is reached: at some 2,140 writes for 0.96, 127 for 0.5.

        :param rows: memory
        """
        written = rows.written[:, None]
        in_order = written - 1.0 - self._index
        if not self.retro_gamma:
            later = th.full_like(in_order, math.nan)
        else:
            # The trace has faded by gamma with every write after the next one.
            faded = (rows.trace / (1.0 - self.retro_gamma)).clamp(min=th.finfo(th.float32).tiny)
            later = th.where(rows.newest > 0, 0.0, 1.0 + faded.log() / math.log(self.retro_gamma))
        return th.where(written <= self.rows, in_order, later)

    def write(self, rows: Rows, value: Tensor, reads: Tensor | None = None) -> Rows:
        """
        Write a value into a row of its own, and add it to what followed earlier ones.

        :param rows: memory
        :param value: (n, width)
        :param reads: weights with which rows were read since the last write, (n, K, N)
        :return: the memory afterwards
        :raises ValueError: for other shapes
        """
        n = rows.content.shape[0]
        _check_shape("rows.content", rows.content, n, self.rows, self.row_width)
        _check_shape("value", value, n, self.width)
        if reads is not None:
            _check_shape("reads", reads, n, *reads.shape[1:2], self.rows)
        usage = rows.usage if reads is None else rows.usage + reads.sum(1)
        is_full = (rows.written >= self.rows)[:, None]
        least = usage.argmin(-1)
        row = th.where(is_full[:, 0], least, rows.written.long())
        newest = (self._index == row[:, None]).to(value.dtype)
        old = newest * is_full  # a row that held something
        usage = th.lerp(usage, usage.mean(-1, keepdim=True), old)
        content = rows.content * (1.0 - old)[..., None]
        trace = rows.trace
        if self.retro_gamma is None:
            content = content + newest[..., None] * value[:, None]
        else:
            # The row before this one, not this one: a value does not follow itself.
            trace = self.retro_gamma * trace + (1.0 - self.retro_gamma) * rows.newest
            trace = trace * (1.0 - old)
            halves, weights = content.unflatten(-1, (2, -1)), th.stack([newest, trace], dim=-1)
            halves = th.addcmul(halves, weights[..., None], value[:, None, None])
            content = halves.flatten(-2)
        return Rows(content, usage, newest, trace, rows.written + 1.0)


def _check_shape(name: str, given: Tensor, *expected: int) -> None:
    """Refuse what would be broadcast, and so mean something else than it says."""
    if given.shape != expected:
        raise ValueError(f"{name} of the shape {tuple(given.shape)}; expected {expected}.")


class ReadHeads(nn.Module):
    """
    One linear layer from a hidden state to keys and strengths (softplus) of several reads.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.memory import ExternalMemory, ReadHeads
        >>> memory = ExternalMemory(rows=8, width=3)
        >>> heads = ReadHeads(in_dim=16, heads=2, memory=memory)
        >>> heads(torch.zeros(4, 16), memory.initial(4)).values.shape
        torch.Size([4, 2, 6])

    :param in_dim: width of the hidden state
    :param heads: number K of reads
    :param memory: that is read
    :param strength: about which strengths begin, positive. A linear layer by itself begins about
        0.7: any of 100 rows then has a hundredth of the weight, and so of the gradient
    :raises ValueError: for widths and numbers that are no whole numbers from 1, and for a strength
        that is not positive
    """

    def __init__(
        self, in_dim: int, heads: int, memory: ExternalMemory, strength: float = 6.0
    ) -> None:
        super().__init__()
        known = {"in_dim": Whole(1), "heads": Whole(1), "strength": Number(0, above=True)}
        read_settings(type(self).__name__, known, locals())
        self.heads, self.memory = heads, memory
        self.keys = nn.Linear(in_dim, heads * (memory.row_width + 1))
        with th.no_grad():
            self.keys.bias.view(heads, -1)[:, -1] = strength + math.log(-math.expm1(-strength))

    @property
    def out_dim(self) -> int:
        """Numbers that all reads together return."""
        return self.heads * self.memory.row_width

    def ask(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return keys (n, K, W) and strengths (n, K) of the reads.

        :param hidden: (n, in_dim)
        """
        keys = self.keys(hidden).unflatten(-1, (self.heads, self.memory.row_width + 1))
        return keys[..., :-1], F.softplus(keys[..., -1])

    def forward(self, hidden: Tensor, rows: Rows) -> Reads:
        """
        Read.

        :param hidden: (n, in_dim)
        :param rows: memory
        """
        return self.memory.read(rows, *self.ask(hidden))
