"""Which objects environments share with the program around them."""

import collections
import enum
import gc
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from dreamzoo.common.environments.look import PROGRAM, STREAMS

#: Not counted: nothing of an environment lies behind them.
_ATOMS = (int, float, complex, str, bytes, bool, type(None), np.generic, np.dtype, enum.Enum)
_CLOSED = (type, types.ModuleType, types.FrameType, types.CodeType, types.BuiltinFunctionType)
_CONTAINERS = (list, dict, set, collections.deque, th.Tensor)


def shared_with_program(
    layers: Iterable[Any], objects: dict[str, Any], places: Iterable[str]
) -> set[int]:
    """
    Find what something else than the environments holds too, and all that lies behind it.

    That is a curriculum that a callback also has, a table that a module has, the agent. It is
    told by references: there are more of them than the environments' own objects have.

    :param layers: environments and their wrappers, which are nobody else's
    :param objects: by place; nothing but this mapping and the environments may hold them for
        the caller
    :param places: of those that may have been shared from the beginning
    :return: ``id`` of the objects
    """
    layers = list(layers)
    ends = {id(layer) for layer in layers}
    inside = _count(layers, ends)
    alone: dict[str, Any] = {"": object()}
    own = sys.getrefcount(alone[""])  # the mapping's and the call's
    outside = [
        place
        for place in places
        if _can_be_shared(objects[place])
        and sys.getrefcount(objects[place]) - own > inside[id(objects[place])]
    ]
    roots = [objects[place] for place in outside]
    behind = _count((root for root in roots if not isinstance(root, PROGRAM)), ends)
    return {id(root) for root in roots} | behind.keys() - ends


def _can_be_shared(value: Any) -> bool:
    if isinstance(value, np.ndarray):  # one that only shows another's memory is that one's
        return value.base is None
    if isinstance(value, spaces.Space | EnvSpec | enum.Enum):
        return False
    return isinstance(value, _CONTAINERS + STREAMS + PROGRAM) or hasattr(value, "__dict__")


def _count(roots: Iterable[Any], ends: set[int]) -> collections.Counter[int]:
    """Count references from everything that lies behind some objects."""
    counts: collections.Counter[int] = collections.Counter()
    todo = list(roots)
    seen = ends | {id(root) for root in todo}
    while todo:
        for referent in _referents(todo.pop()):
            if isinstance(referent, _ATOMS):
                continue
            counts[id(referent)] += 1
            if id(referent) not in seen and not isinstance(referent, _CLOSED + PROGRAM):
                seen.add(id(referent))
                todo.append(referent)
    return counts


def _referents(value: Any) -> list[Any]:
    if isinstance(value, types.FunctionType):  # not its module's variables
        return [value.__closure__, value.__defaults__, value.__kwdefaults__, value.__dict__]
    if isinstance(value, np.ndarray):  # which does not tell the collector
        held = value.ravel().tolist() if value.dtype.hasobject else []
        return [*held, value.base]
    return gc.get_referents(value)
