"""
Memory that large results of one update after another take in turns.

A CPU's operating system clears whatever memory a program asks for, page by page when it is first
written to, which takes ten times as long as writing to memory that the program has had before. But
large memory goes back as soon as a tensor is done with. So it is kept here, as torch keeps that of
CUDA.
"""

import weakref
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.switch import computes_plainly

#: Smaller results take memory that the process has anyway, bytes.
LEAST = 2**22
#: Memory that is kept without being in use, at most, bytes.
KEPT = 2**30
#: First bytes lie at multiples of this, as those of torch's own tensors.
ALIGNMENT = 64


class Store:
    """
    Memory to lend, by size; it comes back by itself when no tensor refers to it any more.

    :param kept: bytes that are kept without being in use, at most
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._free: dict[int, list[np.ndarray]] = {}  # by size

    def empty(self, like: Tensor, *shape: int) -> Tensor:
        """
        Make a tensor whose numbers are yet to be written.

        :param like: has the same dtype and device
        :param shape: of the tensor
        """
        size = prod(shape) * like.element_size()
        if not like.is_cpu or size < LEAST:
            return like.new_empty(shape)
        block = self._take(size + ALIGNMENT)
        start = -block.ctypes.data % ALIGNMENT
        lent = block[start : start + size]  # an array of its own, which torch holds on to
        weakref.finalize(lent, self._give_back, block).atexit = False
        return th.from_numpy(lent).view(like.dtype).view(shape)

    def _take(self, size: int) -> np.ndarray:
        # Of several threads, and of what comes back meanwhile, each step here sees one alone.
        try:
            return self._free[size].pop()
        except (KeyError, IndexError):
            return np.empty(size, np.uint8)

    def _give_back(self, block: np.ndarray) -> None:
        lying = sum(size * len(blocks) for size, blocks in list(self._free.items()))
        if lying + len(block) > self.kept:
            self._free.clear()  # most of it has a size that nobody asks for any more
        self._free.setdefault(len(block), []).append(block)


_store = Store()
#: Make a tensor in memory of the store of this process, see :meth:`Store.empty`.
empty = _store.empty


def stack(parts: Sequence[Tensor]) -> Tensor:
    """
    Join tensors along a new first axis, with a gradient; the plain form is :func:`torch.stack`.

    :param parts: (...) each
    """
    return th.stack(list(parts)) if _is_left_to_torch(parts[0]) else Stack.apply(*parts)


def after_first(x: Tensor) -> Tensor:
    """
    Leave the first entry out, with a gradient; the plain form is ``x[1:]``.

    :param x: (M, ...)
    :return: (M - 1, ...)
    """
    return x[1:] if _is_left_to_torch(x) else AfterFirst.apply(x)


def _is_left_to_torch(x: Tensor) -> bool:
    return computes_plainly() or not x.is_cpu


class Stack(th.autograd.Function):
    """:func:`stack` where autograd may record."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        return th.stack(parts, out=empty(parts[0], len(parts), *parts[0].shape))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad.unbind()


class AfterFirst(th.autograd.Function):
    """:func:`after_first` where autograd may record."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        whole = empty(grad, len(grad) + 1, *grad.shape[1:])
        whole[0] = 0.0
        whole[1:] = grad
        return whole
