"""
Recordings without a GPU: the operations of one call, repeated on the very same memory.

What a CUDA graph would take for fixed is fixed here, too: numbers of the host, branches that were
taken, memory that was read. An operation that asks for a value is refused, as CUDA does.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch as th
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from dreamzoo.common import training
from dreamzoo.nn import actions, optim
from dreamzoo.nn.fast import graphs, streams, switch

aten = th.ops.aten
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}
#: They change what a tensor looks like, not what it holds.
RESHAPES = {aten.squeeze_.default, aten.squeeze_.dim, aten.unsqueeze_.default, aten.t_.default}


class _Recorder(TorchDispatchMode):
    """Keeps every operation that computes something, with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view and func not in RESHAPES:
            self.operations.append((func, *tree_map(_as_it_is, (args, kwargs, out))))
        return out


def _as_it_is(x: Any) -> Any:
    """Keep a tensor's memory under its shape of now: views in place may change it."""
    return x.detach() if isinstance(x, th.Tensor) else x


class Recording:
    """Stands in for :class:`dreamzoo.nn.fast.graphs._Recording`."""

    is_being_made = False

    def __init__(
        self, function: Any, arguments: Any, generators: Iterable[th.Generator], stream: Any
    ) -> None:
        tensors, structure = tree_flatten(arguments)
        self.arguments = [x.detach().clone() for x in tensors]
        self.recorder = _Recorder()
        Recording.is_being_made = True
        with self.recorder:
            self.result = function(*tree_unflatten(self.arguments, structure))
        Recording.is_being_made = False
        self.is_first = True  # recording computes nothing on a GPU; here it was the first call

    @th.no_grad()
    def repeat(self, tensors: list[th.Tensor]) -> Any:
        if self.is_first:
            self.is_first = False
            return self.result
        th._foreach_copy_(self.arguments, tensors)
        for func, args, kwargs, out in self.recorder.operations:
            after, _ = tree_flatten(func(*args, **kwargs))
            for old, new in zip(tree_flatten(out)[0], after, strict=True):
                if isinstance(old, th.Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)
        return self.result


def install(patch: pytest.MonkeyPatch) -> None:
    """
    Let graphs be recorded on a CPU.

    :param patch: takes it back
    """
    patch.setattr(graphs, "can_record", lambda tensors: bool(tensors))
    patch.setattr(graphs, "is_far", lambda device: True)
    patch.setattr(graphs, "_Recording", Recording)
    patch.setattr(graphs, "_forget_failure", lambda generators: None)
    patch.setattr(graphs, "is_recording", lambda: Recording.is_being_made)
    patch.setattr(graphs.Graph, "_run", lambda graph, arguments: graph.function(*arguments))
    patch.setattr(streams, "_overlaps", lambda x: True)
    patch.setattr(switch, "_form", "torch")  # compiled are operations that torch does not see
    patch.setattr(optim, "_hand_over", _hand_over)
    patch.setattr(training, "_on_host", lambda x: False)
    patch.setattr(actions, "_on_host", lambda x: not isinstance(x, th.Tensor))
    patch.setattr(Recording, "is_being_made", False)


def _hand_over(numbers: tuple[float, ...], kept: Any, like: th.Tensor) -> th.Tensor:
    """Hand over an optimizer's numbers as a GPU gets them."""
    values = th.tensor(numbers, dtype=like.dtype)
    return kept.copy_(values) if isinstance(kept, th.Tensor) else values
