"""Several arrays that travel between host and device in one copy."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.graphs import is_far
from dreamzoo.nn.fast.streams import copying

#: Every part begins at a multiple of so many bytes, as fast kernels like it.
ALIGNMENT = 16

#: Shapes and dtypes of the parts.
Layout: TypeAlias = tuple[tuple[tuple[int, ...], np.dtype], ...]


def to_device(array: np.ndarray, device: th.device) -> Tensor:
    """Copy an array to a device without waiting for it; on a CPU share its memory."""
    tensor = th.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy waits for the device
    return tensor.to(device, non_blocking=True)


class Rows(NamedTuple):
    """
    Rows of an array that are yet to be gathered.

    :param array: (R, ...)
    :param chosen: which of them, (...)
    """

    array: np.ndarray
    chosen: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return *self.chosen.shape, *self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def gather(self, out: np.ndarray | None = None) -> np.ndarray:
        """
        Copy the rows.

        :param out: where to; None: new memory
        """
        if out is None:
            return self.array.take(self.chosen, axis=0)
        # Told to look for indices out of range, numpy would gather them elsewhere first.
        return np.take(self.array, self.chosen, axis=0, out=out, mode="clip")


Part: TypeAlias = np.ndarray | Rows


class Parcel:
    """
    Where parts of given shapes and dtypes lie in one row of bytes.

    :param layout: of the parts
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.nbytes = layout, 0
        self._parts: list[tuple[slice, tuple[int, ...], np.dtype, th.dtype]] = []
        for shape, dtype in layout:
            size = prod(shape) * dtype.itemsize
            place = slice(self.nbytes, self.nbytes + size)
            self._parts.append((place, shape, dtype, torch_dtype(dtype)))
            self.nbytes += -(-size // ALIGNMENT) * ALIGNMENT

    def send(self, parts: Iterable[Part], device: th.device) -> Tensor:
        """
        Copy arrays to a device, without waiting for it.

        :param parts: of the layout
        :return: bytes, (nbytes,)
        """
        # Pinned memory comes from torch's store, which keeps it until it was copied.
        host = th.empty(self.nbytes, dtype=th.uint8, pin_memory=device.type == "cuda")
        for place, part in zip(self.views(host.numpy()), parts, strict=True):
            if isinstance(part, Rows):
                part.gather(out=place)
            else:
                place[...] = part
        return host.to(device, non_blocking=True)

    def pack(self, tensors: Iterable[Tensor], device: th.device) -> Tensor:
        """
        Join tensors on their device, to be copied from there.

        :param tensors: of the layout
        :return: bytes, (nbytes,)
        """
        packed = th.empty(self.nbytes, dtype=th.uint8, device=device)
        for place, tensor in zip(self.open(packed), tensors, strict=True):
            place.copy_(tensor)
        return packed

    def open(self, packed: Tensor) -> list[Tensor]:
        """View the parts of what :meth:`send` or :meth:`pack` returned."""
        return [packed[place].view(dtype).view(shape) for place, shape, _, dtype in self._parts]

    def views(self, packed: np.ndarray) -> list[np.ndarray]:
        """View the parts of the same on the host."""
        return [packed[place].view(dtype).reshape(shape) for place, shape, dtype, _ in self._parts]


@cache
def torch_dtype(dtype: np.dtype) -> th.dtype:
    """Return torch's name for numbers of a dtype of numpy."""
    return th.from_numpy(np.empty(0, dtype)).dtype


@cache
def numpy_dtype(dtype: th.dtype) -> np.dtype:
    """Return numpy's name for numbers of a dtype of torch."""
    return th.empty(0, dtype=dtype).numpy().dtype


def parcel_of(parts: Sequence[Part] | Sequence[Tensor]) -> Parcel:
    """Return the parcel that arrays, or tensors, like these make."""
    layout = []
    for part in parts:
        kind = part.dtype
        layout.append(
            (tuple(part.shape), numpy_dtype(kind) if isinstance(kind, th.dtype) else kind)
        )
    return _parcel(tuple(layout))


def ship(parts: Mapping[str, Part], device: th.device) -> dict[str, Tensor]:
    """
    Copy arrays to a device in one piece, without waiting for it; on a CPU share their memory.

    :param parts: by name
    :param device: where to
    """
    if not is_far(device):
        arrays = {k: x.gather() if isinstance(x, Rows) else x for k, x in parts.items()}
        return {name: th.from_numpy(np.asarray(x, order="C")) for name, x in arrays.items()}
    parcel = parcel_of(list(parts.values()))
    with copying(device):
        packed = parcel.send(parts.values(), device)
    if packed.is_cuda:
        packed.record_stream(th.cuda.current_stream(packed.device))  # it is of another one
    return dict(zip(parts, parcel.open(packed), strict=True))


@lru_cache(64)
def _parcel(layout: Layout) -> Parcel:
    return Parcel(layout)
