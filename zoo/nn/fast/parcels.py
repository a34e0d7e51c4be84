"""Several arrays that travel between host and device in one copy."""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from math import prod
from typing import TypeAlias

import numpy as np
import torch as th
from torch import Tensor

#: Every part begins at a multiple of so many bytes, as fast kernels like it.
ALIGNMENT = 16

#: Shapes and dtypes of the parts.
Layout: TypeAlias = tuple[tuple[tuple[int, ...], np.dtype], ...]


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

    def send(self, arrays: Iterable[np.ndarray], device: th.device) -> Tensor:
        """
        Copy arrays to a device, without waiting for it.

        :param arrays: of the layout
        :return: bytes, (nbytes,)
        """
        # Pinned memory comes from torch's store, which keeps it until it was copied.
        host = th.empty(self.nbytes, dtype=th.uint8, pin_memory=device.type == "cuda")
        for place, array in zip(self.views(host.numpy()), arrays, strict=True):
            place[...] = array
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


def parcel_of(parts: Sequence[np.ndarray] | Sequence[Tensor]) -> Parcel:
    """Return the parcel that arrays, or tensors, like these make."""
    return _parcel(
        tuple(
            (tuple(x.shape), x.dtype if isinstance(x, np.ndarray) else numpy_dtype(x.dtype))
            for x in parts
        )
    )


@lru_cache(64)
def _parcel(layout: Layout) -> Parcel:
    return Parcel(layout)
