"""Two things at a time on a GPU: kernels of small networks leave most of it idle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch as th
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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


def derived(
    losses: Callable[[Tensor], dict[str, Tensor]], x: Tensor, module: nn.Module
) -> dict[str, Tensor]:
    """
    Compute losses, on CUDA also their gradients: ``backward()`` then only hands them on.

    So they do not wait until all that is computed at the same time (:func:`at_once`) has ended.

    :param losses: of x and of the module's parameters, scalars by name
    :param x: with gradient
    :param module: what else the gradients are for
    :return: the losses; no gradient of their gradient is known
    """
    if not (_overlaps(x) and x.requires_grad and th.is_grad_enabled()):
        return losses(x)
    leaf = x.detach().requires_grad_()
    inputs = [leaf, *(p for p in module.parameters() if p.requires_grad)]
    found = losses(leaf)
    grads = [
        th.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
        for loss in found.values()
    ]
    values = zip(found.items(), grads, strict=True)
    return {name: _Derived.apply(v.detach(), g, x, *inputs[1:]) for (name, v), g in values}


def _overlaps(x: Tensor) -> bool:
    return x.is_cuda and not computes_plainly()


class _Derived(th.autograd.Function):
    """
    A value whose gradients are there.

    Arguments: the value; its gradient for each of the inputs, or None; the inputs.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, grads: tuple[Tensor | None, ...], *_: Tensor) -> Tensor:
        ctx.grads = grads
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        known = iter(th._foreach_mul([grad for grad in ctx.grads if grad is not None], weight))
        return None, None, *(None if grad is None else next(known) for grad in ctx.grads)


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
    stream = _copies(th.device(device.type, _index(device)))
    with th.cuda.stream(stream):
        yield
    th.cuda.current_stream(device).wait_stream(stream)


def _index(device: th.device) -> int:
    return th.cuda.current_device() if device.index is None else device.index


@cache
def _copies(device: th.device) -> th.cuda.Stream:
    return th.cuda.Stream(device)


@cache
def _stream(device: th.device) -> th.cuda.Stream:
    return th.cuda.Stream(device)
