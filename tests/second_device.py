"""
A second torch device without hardware, to prove that nothing is left on the wrong one.

Tensors on ``acc`` keep their values in CPU memory. As on CUDA, an operation that mixes them with
CPU tensors raises, unless these are scalars or integer indices, and numpy cannot read them. Every
copy to the host (``.item()``, ``bool()``, ``.cpu()``) is counted.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch as th
import torch.utils.backend_registration as registration
from torch.utils._pytree import tree_flatten, tree_map

NAME = "acc"
#: Beside a real accelerator torch would ask this one for pinned memory.
HERE = not th.cuda.is_available()
if HERE:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        registration._setup_privateuseone_for_python_backend(NAME)
DEVICE = th.device(NAME if HERE else "privateuseone", 0)

aten = th.ops.aten
COPIES = {
    aten.copy_.default,
    aten._to_copy.default,
    aten._copy_from.default,
    aten._copy_from_and_resize.default,
}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
INDICES = {th.int64, th.int32, th.bool, th.uint8}

#: Copies to the host so far, by operation.
host_copies: Counter[str] = Counter()


class AccTensor(th.Tensor):
    """
    A tensor on the second device.

    :param value: its values, a CPU tensor
    """

    value: th.Tensor

    @staticmethod
    def __new__(cls, value: th.Tensor) -> "AccTensor":
        wrapper = th.Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=DEVICE,
        )
        wrapper.value = value
        return wrapper

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"AccTensor({self.value})"

    def tolist(self) -> Any:
        host_copies["tolist"] += 1
        return self.value.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu().")

    __array__ = numpy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> "AccTensor":
        copy = AccTensor(self.value.detach().clone())
        copy.requires_grad_(self.requires_grad)
        copy._is_param = getattr(self, "_is_param", False)
        memo[id(self)] = copy
        return copy

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        _refuse_mixtures(func, args, kwargs)
        target = kwargs.get("device")
        to_host = target is not None and th.device(target).type == "cpu"
        if target is not None:
            kwargs["device"] = th.device("cpu")
        if func is aten.copy_.default:
            return _copy(*args)
        out = func(*tree_map(_unwrap, args), **tree_map(_unwrap, kwargs))
        if to_host or func is aten._local_scalar_dense.default:
            host_copies[str(func)] += 1
            return out
        return _rewrap(func, out, args, kwargs)


_Generator, _load = th.Generator, th.load


class HostGenerator:
    """A source of randomness is one thing that the device lacks: the CPU's stands in for it."""

    def __new__(cls, device: Any = None) -> th.Generator:  # type: ignore[misc]
        return _Generator()


def _load_on_host(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """Read files to the host: the device has no storage of its own to read them to."""
    on_device = map_location is not None and th.device(map_location).type == NAME
    return _load(file, map_location="cpu" if on_device else map_location, **kwargs)


def install(patch: pytest.MonkeyPatch) -> None:
    """Stand in for what the device lacks; skip the test where there is a real one."""
    if not HERE:
        pytest.skip("there is a real accelerator")
    patch.setattr(th, "Generator", HostGenerator)
    patch.setattr(th, "load", _load_on_host)
    # As on CUDA, a module that moves keeps its parameters: optimizers may hold them already.
    patch.setattr(th.__future__, "_swap_module_params_on_conversion", True)
    patch.setattr(th.nn.GRUCell, "forward", _plain_gru)
    patch.setattr(th.nn.LSTMCell, "forward", _plain_lstm)


def _plain_gru(cell: th.nn.GRUCell, x: th.Tensor, h: th.Tensor) -> th.Tensor:
    """Compute a GRU from single operations: off the CPU, torch wants a fused kernel for it."""
    from_x = th.nn.functional.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, dim=1)
    from_h = th.nn.functional.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, dim=1)
    reset, update = (th.sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
    return (1 - update) * th.tanh(from_x[2] + reset * from_h[2]) + update * h


def _plain_lstm(
    cell: th.nn.LSTMCell, x: th.Tensor, state: tuple[th.Tensor, th.Tensor]
) -> tuple[th.Tensor, th.Tensor]:
    """Compute an LSTM from single operations, for the same reason."""
    output, kept = state
    from_x = th.nn.functional.linear(x, cell.weight_ih, cell.bias_ih)
    from_h = th.nn.functional.linear(output, cell.weight_hh, cell.bias_hh)
    enter, keep, new, show = (from_x + from_h).chunk(4, dim=1)
    kept = th.sigmoid(keep) * kept + th.sigmoid(enter) * th.tanh(new)
    return th.sigmoid(show) * th.tanh(kept), kept


def _unwrap(x: Any) -> Any:
    return x.value if isinstance(x, AccTensor) else x


def _refuse_mixtures(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    flat, _ = tree_flatten((args, kwargs))
    if func in COPIES or not any(isinstance(x, AccTensor) for x in flat):
        return
    for x in flat:
        if isinstance(x, th.Tensor) and not isinstance(x, AccTensor) and x.dim() > 0:
            if func in INDEXING and x.dtype in INDICES:
                continue
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and {x.device}! ({func})"
            )


def _copy(target: th.Tensor, source: th.Tensor, *_: Any) -> th.Tensor:
    if not isinstance(target, AccTensor):
        host_copies["copy_"] += 1
    _unwrap(target).copy_(_unwrap(source))
    return target


def _rewrap(func: Any, out: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Put results on the device; an operation in place hands back the very object it changed."""
    if isinstance(out, th.Tensor):
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                changed = args[i] if i < len(args) else kwargs.get(argument.name)
                if isinstance(changed, AccTensor):
                    return changed
    return tree_map(lambda x: AccTensor(x) if isinstance(x, th.Tensor) else x, out)


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> AccTensor:
    return AccTensor(th.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> AccTensor:
    return AccTensor(th.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: th.Tensor, target: th.Tensor, non_blocking: bool = False) -> th.Tensor:
    return _copy(target, source)


if HERE:
    _library = th.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _library.impl("empty.memory_format", _empty, "PrivateUse1")
        _library.impl("empty_strided", _empty_strided, "PrivateUse1")
        _library.impl("_copy_from", _copy_from, "PrivateUse1")


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count copies to the host inside the block, by operation."""
    before = Counter(host_copies)
    inside: Counter[str] = Counter()
    yield inside
    inside.update(host_copies - before)
