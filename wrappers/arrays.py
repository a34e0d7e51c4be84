"""One name for what numpy arrays and torch tensors both can do."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch as th

#: A numpy array or a torch tensor.
Array: TypeAlias = Any

#: An array, or a dict or tuple of them.
Tree: TypeAlias = Any


def namespace(x: Any) -> ModuleType:
    """Get the library that computes with ``x``: torch for tensors, numpy for everything else."""
    return th if isinstance(x, th.Tensor) else np


def as_array(x: Any, like: Any = None) -> Array:
    """
    Make an array of anything; a tensor stays one.

    :param x: array, number or nested list
    :param like: a tensor, to make a tensor on its device; anything else makes a numpy array
    """
    if isinstance(x, th.Tensor):
        return x.to(like.device) if isinstance(like, th.Tensor) else x
    return th.as_tensor(x, device=like.device) if isinstance(like, th.Tensor) else np.asarray(x)


def cast(x: Array, dtype: Any) -> Array:
    """
    Change the type of an array's elements.

    :param x: array
    :param dtype: of numpy, also for tensors
    """
    if isinstance(x, th.Tensor):
        return x.to(getattr(th, np.dtype(dtype).name))
    return np.asarray(x, dtype=dtype)


def copy(x: Array) -> Array:
    """Make another array of the same content."""
    return x.clone() if isinstance(x, th.Tensor) else x.copy()


def copy_tree(tree: Tree) -> Tree:
    """Copy all arrays of a tree, also of lists and arrays of objects; what else is in it stays."""
    if isinstance(tree, Mapping):
        return {key: copy_tree(part) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = map(copy_tree, tree)
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if not isinstance(tree, np.ndarray | th.Tensor):
        return tree
    copied = copy(tree)
    if tree.dtype == object:  # gymnasium's way to hold something of some rows
        for index, part in np.ndenumerate(tree):
            copied[index] = copy_tree(part)
    return copied


def symlog(x: Any) -> Array:
    """Compress magnitudes, sign(x) log(1 + |x|) (DreamerV3, eq. 9)."""
    x, xp = _floating(x), namespace(x)
    return xp.sign(x) * xp.log1p(xp.abs(x))


def tanh(x: Any) -> Array:
    """Squash to (-1, 1)."""
    return namespace(x).tanh(_floating(x))


def _floating(x: Any) -> Any:
    """Make float32 of integers and booleans; of small ones numpy would make half precision."""
    if isinstance(x, th.Tensor):
        return x if x.is_floating_point() else x.float()
    return x if np.asarray(x).dtype.kind == "f" else cast(x, np.float32)[()]


def one_hot(x: Array, n: int, start: int = 0) -> Array:
    """
    Turn integers into unit vectors, float32.

    :param x: integers from ``start`` to ``start + n - 1``, (...)
    :return: (..., n)
    """
    if isinstance(x, th.Tensor):
        return (x[..., None] == th.arange(start, start + n, device=x.device)).float()
    return (x[..., None] == np.arange(start, start + n)).astype(np.float32)


def first_array(tree: Tree) -> Array:
    """Get the first array of a tree, which says what library and device the tree is of."""
    while isinstance(tree, (Mapping, tuple)):
        tree = next(iter(tree.values() if isinstance(tree, Mapping) else tree))
    return tree


def select(rows: Array, new: Tree, old: Tree) -> Tree:
    """
    Take some rows of one batch and the others of another.

    :param rows: which to take of ``new``, booleans (B,)
    :param new: arrays (B, ...)
    :param old: the same
    """
    if isinstance(new, Mapping):
        return {key: select(rows, new[key], old[key]) for key in new}
    if isinstance(new, tuple):
        return tuple(select(rows, n, o) for n, o in zip(new, old, strict=True))
    xp = namespace(new)
    return xp.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def known_empty(rows: Array) -> bool:
    """Return whether no row is meant, where that can be seen without waiting for a device."""
    on_host = not isinstance(rows, th.Tensor) or rows.device.type == "cpu"
    return on_host and not rows.any()
