"""Attributes and methods of single rows of a gymnasium ``VectorEnv``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper


def get_attr(env: VectorEnv, name: str) -> list[Any]:
    """
    Read an attribute of every row.

    That of its own environment, where rows are environments (``SyncVectorEnv``,
    ``AsyncVectorEnv``) and have it. Of one batch arrays and tensors belong to the rows, if their
    first axis is as long as there are rows, and dictionaries and tuples of such; everything else
    is one for all rows.

    :param env: with N rows
    :param name: attribute
    :return: N values
    :raises AttributeError: if nothing has it
    """
    inner = env.unwrapped
    if _rows_have(env, name):
        if isinstance(inner, SyncVectorEnv):
            return [row.get_wrapper_attr(name) for row in inner.envs]
        return list(inner.get_attr(name))  # type: ignore[attr-defined]
    value = getattr(_owner(env, name), name)
    parts = _split(value, env.num_envs)
    return [value] * env.num_envs if parts is None else parts


def set_attr(env: VectorEnv, name: str, value: Any, rows: Sequence[int]) -> None:
    """
    Write an attribute of some rows.

    :param env: with N rows
    :param name: attribute
    :param value: of each of the rows
    :param rows: which; everything that is one for all rows asks for all of them
    :raises ValueError: if it is one for all rows, and some are not asked for
    """
    inner = env.unwrapped
    if isinstance(inner, SyncVectorEnv) and (_rows_have(env, name) or not _has(env, name)):
        for i in rows:
            inner.envs[i].set_wrapper_attr(name, value)
        return
    everyone = _is_all(rows, env.num_envs)
    if isinstance(inner, AsyncVectorEnv) and (_rows_have(env, name) or not _has(env, name)):
        values = [value] * env.num_envs if everyone else get_attr(env, name)
        for i in rows:
            values[i] = value
        inner.set_attr(name, values)
        return
    owner = _owner(env, name)
    before = getattr(owner, name, None)
    if not isinstance(before, np.ndarray | th.Tensor) or not _is_per_row(before, env.num_envs):
        if not everyone:
            raise ValueError(_one_batch(f"set_attr({name!r})", rows))
        setattr(owner, name, value)
    elif everyone and np.shape(value) == tuple(before.shape):
        setattr(owner, name, value)
    else:
        setattr(owner, name, _replace(before, rows, value))


def call(
    env: VectorEnv, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], rows: Sequence[int]
) -> list[Any]:
    """
    Call a method of some rows.

    :param env: with N rows
    :param name: method
    :param args: its arguments
    :param kwargs: its arguments by name
    :param rows: which; a batch, and environments in other processes, are called all together
    :return: what it returned for each of the rows
    :raises ValueError: if rows can only be called together, and some are not asked for
    """
    inner = env.unwrapped
    on_rows = _rows_have(env, name)
    if on_rows and isinstance(inner, SyncVectorEnv):
        return [inner.envs[i].get_wrapper_attr(name)(*args, **kwargs) for i in rows]
    method = getattr(_owner(env, name), name) if not on_rows else None
    if not _is_all(rows, env.num_envs):
        raise ValueError(_one_batch(f"env_method({name!r})", rows))
    if method is None:
        results = list(inner.call(name, *args, **kwargs))  # type: ignore[attr-defined]
    else:
        value = method(*args, **kwargs)
        parts = _split(value, env.num_envs)
        results = [value] * env.num_envs if parts is None else parts
    return [results[i] for i in rows]


def _owner(env: VectorEnv, name: str) -> VectorEnv:
    """Find the outermost layer that has an attribute, or the innermost."""
    while not hasattr(env, name) and isinstance(env, VectorWrapper):
        env = env.env
    return env


def _has(env: VectorEnv, name: str) -> bool:
    return hasattr(_owner(env, name), name)


def _rows_have(env: VectorEnv, name: str) -> bool:
    """Return whether rows are environments that have an attribute."""
    inner = env.unwrapped
    if not isinstance(inner, SyncVectorEnv | AsyncVectorEnv):
        return False
    # Asked first: a process that lacks what is asked for ends.
    return all(inner.call("has_wrapper_attr", name))


def _is_per_row(value: np.ndarray | th.Tensor, n: int) -> bool:
    return value.ndim > 0 and len(value) == n


def _split(value: Any, n: int) -> list[Any] | None:
    """Split what belongs to n rows; None if it is one for all of them."""
    if isinstance(value, np.ndarray | th.Tensor):
        return list(value) if _is_per_row(value, n) else None
    if not isinstance(value, dict | tuple) or not value:
        return None
    parts = [_split(part, n) for part in (value.values() if isinstance(value, dict) else value)]
    if any(part is None for part in parts):
        return None
    rows = list(zip(*parts, strict=True))
    if isinstance(value, dict):
        return [dict(zip(value, row, strict=True)) for row in rows]
    return [type(value)(*row) if hasattr(value, "_fields") else row for row in rows]


def _replace(before: Any, rows: Sequence[int], value: Any) -> Any:
    """Put a value into some rows of an array, of a dtype that holds both."""
    mask = np.zeros(len(before), bool)
    mask[list(rows)] = True
    mask = mask.reshape(-1, *[1] * (before.ndim - 1))
    if isinstance(before, np.ndarray):
        return np.where(mask, value, before)
    return th.where(
        th.as_tensor(mask, device=before.device), th.as_tensor(value, device=before.device), before
    )


def _is_all(rows: Sequence[int], n: int) -> bool:
    return {i % n for i in rows} == set(range(n))


def _one_batch(what: str, rows: Sequence[int]) -> str:
    return (
        f"{what} was asked for the rows {list(rows)} alone: there the environments are one batch; "
        "leave indices out to mean all."
    )
