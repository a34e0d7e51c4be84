"""Two things at a time on a GPU: kernels of small networks leave most of it idle."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch as th
from torch import Tensor
from torch.utils._pytree import tree_leaves


class Aside:
    """
    Let CUDA compute a block beside what lies between :meth:`begin` and it; elsewhere in order.

    Its gradients, too, are computed beside those of the rest.

    :param device: where it is computed
    """

    def __init__(self, device: th.device) -> None:
        self._stream = _stream(device) if device.type == "cuda" else None

    def begin(self) -> None:
        """Mark what the block waits for: all that comes before this."""
        if self._stream is not None:
            self._event = th.cuda.current_stream(self._stream.device).record_event()

    @contextmanager
    def reading(self, *inputs: Any) -> Iterator[None]:
        """
        Compute a block aside.

        :param inputs: all tensors that it reads, alone or nested: their memory must not be given
            to something else while they are read, and it would be, as soon as nothing refers to it
        """
        if self._stream is None:
            yield
            return
        self._stream.wait_event(self._event)
        for x in tree_leaves(inputs):
            if isinstance(x, Tensor) and x.is_cuda:
                x.record_stream(self._stream)
        with th.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Let what comes after this wait for the block."""
        if self._stream is not None:
            th.cuda.current_stream(self._stream.device).wait_stream(self._stream)


@cache
def _stream(device: th.device) -> th.cuda.Stream:
    return th.cuda.Stream(device)
