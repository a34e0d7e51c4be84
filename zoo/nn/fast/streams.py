"""Two things at a time on a GPU: kernels of small networks leave most of it idle."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch as th
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_leaves

from dreamzoo.nn.fast.switch import computes_plainly

#: So many copies may lie on a device whose use is yet to come: the host waits for nothing else,
#: and would fill its memory.
AHEAD = 4

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


def derived(
    losses: Callable[[Tensor], dict[str, Tensor]], x: Tensor, module: nn.Module
) -> dict[str, Tensor]:
    """
    Compute a loss, on CUDA also its gradients: ``backward()`` then only hands them on.

    So they do not wait until all that is computed at the same time (:func:`at_once`) has ended.
    Several losses, which would go back through what they share one by one, are only computed; so
    are those whose gradients a hook would see twice.

    :param losses: of x, of the module's parameters and of nothing else that learns; scalars by name
    :param x: with gradient
    :param module: what else the gradients are for
    :return: the losses; no gradient of their gradient is known
    """
    found = losses(x)
    if not (_overlaps(x) and x.requires_grad and th.is_grad_enabled()) or len(found) != 1:
        return found
    inputs = [x, *(p for p in module.parameters() if p.requires_grad)]
    if any(tensor._backward_hooks for tensor in inputs):
        return found
    ((name, loss),) = found.items()
    grads = th.autograd.grad(loss, inputs, allow_unused=True)
    return {name: _Derived.apply(loss.detach(), grads, *inputs)}


def _overlaps(x: Tensor) -> bool:
    return x.is_cuda and not computes_plainly()


class _Derived(th.autograd.Function):
    """
    A value whose gradients are there.

    Arguments: the value; its gradient for each of the inputs, or None; the inputs.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, grads: tuple[Tensor | None, ...], *_: Tensor) -> Tensor:
        ctx.is_known = [grad is not None for grad in grads]
        ctx.save_for_backward(*(grad for grad in grads if grad is not None))
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        grads = iter(th._foreach_mul(list(ctx.saved_tensors), weight))
        return None, None, *(next(grads) if known else None for known in ctx.is_known)


@contextmanager
def copying(device: th.device) -> Iterator[None]:
    """
    Let copies to a device in a block not wait for what it has still to compute, on CUDA.

    What comes after the block waits for them.

    :param device: where they go
    """
    if device.type != "cuda" or computes_plainly():
        yield
        return
    stream, asked_for = _copies(th.device(device.type, _index(device)))
    if len(asked_for) >= AHEAD:
        asked_for.popleft().synchronize()
    with th.cuda.stream(stream):
        yield
    here = th.cuda.current_stream(device)
    here.wait_stream(stream)
    event = th.cuda.Event(blocking=True)
    event.record(here)
    asked_for.append(event)


def _index(device: th.device) -> int:
    return th.cuda.current_device() if device.index is None else device.index


@cache
def _copies(device: th.device) -> tuple[th.cuda.Stream, deque[th.cuda.Event]]:
    """Return the stream of a device's copies, and what was asked for behind the newest of them."""
    return th.cuda.Stream(device), deque()


@cache
def _stream(device: th.device) -> th.cuda.Stream:
    # Both functions may train the same parameters. torch warns of that, since it may break a
    # recording off; here the second stream is part of it.
    tell = getattr(th.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if tell is not None:  # since torch 2.10
        tell(False)
    return th.cuda.Stream(device)
