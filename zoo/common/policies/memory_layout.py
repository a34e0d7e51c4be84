"""What an agent remembers between two steps, as it travels between ``predict`` and its callers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dreamzoo.nn.checks import FLOAT32, InputError, to_host
from dreamzoo.nn.fast.parcels import numpy_dtype
from dreamzoo.nn.state import State, leaf_names, leaves, rebuild


class MemoryLayout:
    """
    Parts of a memory: their shapes and dtypes, and the two forms that they have.

    On the device a memory is a NamedTuple of tensors, (n, ...) each, or of tuples of tensors, see
    :mod:`dreamzoo.nn.state`; for callers of ``predict`` it is a tuple of flat arrays, (n, size)
    each.

    :param like: a memory of one row
    """

    def __init__(self, like: State) -> None:
        self._like = like
        self.names = leaf_names(like)
        self.shapes = [part.shape[1:] for part in leaves(like)]
        self.kinds = [part.dtype for part in leaves(like)]
        self.dtypes = [numpy_dtype(kind) for kind in self.kinds]
        self.sizes = [shape.numel() for shape in self.shapes]
        self._is_flat = [len(shape) == 1 for shape in self.shapes]

    def pack(self, memory: State) -> tuple[np.ndarray, ...]:
        """Turn a memory on a CPU into arrays."""
        return tuple(
            (x if flat else rows_of(x)).numpy()
            for x, flat in zip(leaves(memory), self._is_flat, strict=True)
        )

    def unpack(self, parts: Sequence[Tensor]) -> State:
        """Turn parts, flat or not, into a memory."""
        given = zip(parts, self.shapes, self._is_flat, strict=True)
        shaped = [x if flat else x.reshape(-1, *shape) for x, shape, flat in given]
        return rebuild(self._like, shaped)

    def zeros(self, n: int) -> list[np.ndarray]:
        """Return arrays whose content is forgotten: all rows of them start episodes."""
        return [
            np.zeros((n, size), dtype) for size, dtype in zip(self.sizes, self.dtypes, strict=True)
        ]

    def check_arrays(self, given: Any, n: int) -> list[np.ndarray]:
        """
        Refuse what :meth:`pack` has not returned for as many rows.

        :param given: what a caller of ``predict`` passes
        :param n: rows
        :return: the arrays
        :raises InputError: says what does not fit
        """
        if not isinstance(given, (tuple, list)):
            kind = type(given).__name__
            raise InputError("state that is no tuple", f"{kind}; expected {self._words(n)}")
        parts = [
            x if isinstance(x, np.ndarray) else to_host(x, "state", self._words(n)) for x in given
        ]
        found = [(x.dtype, x.shape) for x in parts]
        expected = [(d, (n, size)) for d, size in zip(self.dtypes, self.sizes, strict=True)]
        if found != expected:
            raise InputError(
                "state that does not fit",
                f"{_first_difference(found, expected)}, as the last predict() call returned it for "
                "the same number of environments, or state=None to start anew",
            )
        for i, x in enumerate(parts):
            _check_numbers(x, i)
        return parts

    def check_tensors(self, given: Any, n: int) -> None:
        """
        Refuse what is no memory of as many rows.

        :param given: what a caller of ``step`` passes
        :param n: rows
        :raises InputError: says what does not fit; of values on a CPU only
        """
        if not isinstance(given, type(self._like)):
            kind = type(self._like).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            found = f"{type(given).__name__}; expected {article} {kind}, see initial_state()"
            raise InputError("state of another kind", found)
        parts = leaves(given)
        shapes = [(x.dtype, tuple(x.shape)) for x in parts]
        expected = [
            (kind, (n, *shape)) for kind, shape in zip(self.kinds, self.shapes, strict=True)
        ]
        if shapes != expected:
            raise InputError("state that does not fit", _first_difference(shapes, expected))
        for i, part in enumerate(parts):
            if part.is_cpu:
                _check_numbers(part.detach().numpy(), i)

    def _words(self, n: int) -> str:
        return (
            f"a tuple of {len(self.sizes)} arrays of {n} rows, as the last predict() call returned "
            "it for the same number of environments, or state=None to start anew"
        )


def _first_difference(found: Sequence[Any], expected: Sequence[Any]) -> str:
    """Say in words where dtypes and shapes of parts begin to differ."""
    if len(found) != len(expected):
        return f"{len(found)} parts; expected {len(expected)}"
    i = next(i for i, (x, y) in enumerate(zip(found, expected, strict=True)) if x != y)
    (dtype, shape), (its, other) = found[i], expected[i]
    return f"part {i} of {len(found)} is {dtype} {tuple(shape)}; expected {its} {tuple(other)}"


def rows_of(part: Tensor) -> Tensor:
    """Flatten everything behind the rows, (n, ...) to (n, size); a number for a row has size 1."""
    return part.flatten(1) if part.dim() > 1 else part[:, None]


def _check_numbers(part: np.ndarray, i: int) -> None:
    if part.dtype.kind == "f":
        FLOAT32.check(part, f"part {i} of the state")
