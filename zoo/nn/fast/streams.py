"""Two things at a time on a GPU: kernels of small networks leave most of it idle."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch as th
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dreamzoo.nn.fast.switch import computes_plainly

First = TypeVar("First")
Second = TypeVar("Second")


def at_once(
    first: Callable[..., First], second: Callable[..., Second], *inputs: Any
) -> tuple[First, Second]:
    """
    Compute ``(first(*inputs), second(*inputs))``, on CUDA both at the same time.

    The second gets a stream of its own, and so do its gradients.

    :param first: may write nothing that the second reads
    :param second: may read no tensor but the inputs, and what does not change meanwhile
    :param inputs: tensors, alone or nested
    """
    on_gpu = [x for x in tree_leaves(inputs) if isinstance(x, Tensor) and x.is_cuda]
    if not on_gpu or computes_plainly():
        return first(*inputs), second(*inputs)
    stream = _stream(on_gpu[0].device)
    beginning = th.cuda.current_stream(stream.device).record_event()
    one = first(*inputs)
    stream.wait_event(beginning)
    for x in on_gpu:
        # As soon as nothing refers to it, its memory would be given to something else, though it
        # is still read here.
        x.record_stream(stream)
    with th.cuda.stream(stream):
        other = second(*inputs)
    th.cuda.current_stream(stream.device).wait_stream(stream)
    return one, other


@cache
def _stream(device: th.device) -> th.cuda.Stream:
    return th.cuda.Stream(device)
