"""
Values as JSON, and back without running code.

Numbers, text, containers, arrays, tensors, random generators and Gymnasium's spaces are written as
what they are. Of classes only the names are written: those of torch, SB3, sb3-contrib and
dreamzoo that networks, optimizers and buffers are of are found again, others are not.
"""

import base64
import importlib
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.noise import (
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

#: Packages whose classes are found by name, if they are derived from one of the bases.
PACKAGES = ("torch.nn", "torch.optim", "stable_baselines3", "sb3_contrib", "dreamzoo")
OWN = ("dreamzoo",)
BASES = (th.nn.Module, th.optim.Optimizer, BaseBuffer)
#: Objects that are nothing but their attributes.
OBJECTS = {
    kind.__name__: kind
    for kind in (
        *(ConstantSchedule, FloatSchedule, LinearSchedule, RunningMeanStd),
        *(NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise),
    )
}
#: Sources of random bits that numpy has.
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
#: Bytes that short texts may stand for together: bounds of spaces that are all alike.
_FREE = 2**24
#: Bytes of bounds that one number may stand for, if they are all alike.
_SHORT = 2**16


class NotPlainError(TypeError):
    """A value that cannot be written without code."""


def to_json(value: Any, place: str = "it") -> Any:
    """
    Turn a value into what JSON can say.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.common.storage.plain import from_json, to_json
        >>> to_json({"steps": 3, "size": (1, 2)})
        {'steps': 3, 'size': {':tuple': [1, 2]}}
        >>> from_json(to_json(np.arange(3)))
        array([0, 1, 2])

    :param value: anything
    :param place: what messages call it
    :raises NotPlainError: names the part that cannot be written so
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return _parts(value, place)
    if kind is dict:
        if all(type(key) is str and key[:1] != ":" for key in value):
            return {key: to_json(x, f"{place}[{key!r}]") for key, x in value.items()}
        return {":dict": [_parts(pair, place) for pair in value.items()]}
    for tag, (kinds, write, _) in _FORMS.items():
        if kind in kinds:
            return {tag: write(value, place)}
    if isinstance(value, np.dtype) or (kind is type and issubclass(value, np.generic)):
        return {":dtype": np.dtype(value).str}
    if isinstance(value, type) and known_class(name_of(value)) is value:
        return {":class": name_of(value)}
    if _is_own_dataclass(kind):
        return {":dataclass": [name_of(kind), to_json(vars(value), place)]}
    raise NotPlainError(f"{place} is a {kind.__module__}.{kind.__qualname__}")


def from_json(data: Any, free: "_Free | None" = None) -> Any:
    """
    Turn what :func:`to_json` has written into the value.

    :param data: of JSON
    :param free: what may still be made of short texts
    :raises ValueError: for what it does not write, and for classes that are not found
    """
    free = free or _Free()
    if isinstance(data, list):
        return [from_json(x, free) for x in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if tag[:1] != ":":
        return {key: from_json(x, free) for key, x in data.items()}
    (content,) = data.values()
    if tag == ":dict":
        return {from_json(key, free): from_json(x, free) for key, x in content}
    if tag == ":class":
        return _class(content)
    if tag == ":dataclass":
        return _dataclass(content[0])(**from_json(content[1], free))
    if tag not in _FORMS:
        raise ValueError(f"{tag} is nothing that a file of this version holds")
    return _FORMS[tag][2](content, free)


class _Free:
    """Counts the bytes that short texts stand for."""

    def __init__(self) -> None:
        self.left = _FREE

    def take(self, shape: Any, itemsize: int) -> None:
        """
        Allow for an array.

        :raises ValueError: if it is more than a file may promise
        """
        self.left -= math.prod(shape) * itemsize
        if self.left < 0:
            raise ValueError(f"spaces such as one of shape {shape} are more than it may promise")


def name_of(kind: type) -> str:
    """Name a class by its module and its name there."""
    return f"{kind.__module__}:{kind.__qualname__}"


def known_class(name: str) -> type | None:
    """
    Find a class that a file may name; nothing else is imported.

    :param name: of :func:`name_of`
    :return: None if there is none, or none that a file may name
    """
    found = _found(name, PACKAGES)
    return found if found is not None and issubclass(found, BASES) else None


def _found(name: str, packages: tuple[str, ...]) -> type | None:
    """Find a class of some packages."""
    module, _, qualname = name.partition(":")
    if not any(f"{module}.".startswith(f"{package}.") for package in packages):
        return None
    try:
        found = getattr(importlib.import_module(module), qualname, None)
    except ImportError:
        return None
    # Not what a module has only imported from elsewhere.
    return found if isinstance(found, type) and name_of(found) == name else None


def _class(name: str) -> type:
    if (kind := known_class(name)) is None:
        raise ValueError(f"there is no class {name} here that a file may name")
    return kind


def _is_own_dataclass(kind: type) -> bool:
    """Recognize what stands for settings here, such as the size of a network."""
    return is_dataclass(kind) and _found(name_of(kind), OWN) is kind


def _dataclass(name: str) -> Any:
    if (kind := _found(name, OWN)) is None or not is_dataclass(kind):
        raise ValueError(f"there are no settings {name} here")
    return kind


def _parts(values: Any, place: str) -> list[Any]:
    return [to_json(x, f"{place}[{i}]") for i, x in enumerate(values)]


def _of_parts(make: Callable[[list[Any]], Any]) -> tuple[Callable, Callable]:
    return _parts, lambda content, free: make([from_json(x, free) for x in content])


def _write_array(value: np.ndarray, place: str) -> list[Any]:
    if value.dtype.hasobject or value.dtype.names:
        raise NotPlainError(f"{place} is an array of {value.dtype}")
    return [value.dtype.str, list(value.shape), _text(np.ascontiguousarray(value).tobytes())]


def _read_array(content: Any, free: _Free) -> np.ndarray:
    dtype, shape, text = content
    return np.frombuffer(_bytes(text), _dtype(dtype)).reshape(shape).copy()


def _dtype(text: str, free: _Free | None = None) -> np.dtype:
    if (dtype := np.dtype(text)).hasobject:
        raise ValueError("arrays of objects are not read")
    return dtype


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, free: _Free | None = None) -> bytes:
    return base64.b64decode(text, validate=True)


def _write_space(space: Any, place: str) -> list[Any]:
    what: dict[str, Any]
    if isinstance(space, spaces.Box):
        what = {"shape": space.shape, "dtype": space.dtype.str}
        for name, bound in (("low", space.low), ("high", space.high)):
            alike = 0 < bound.nbytes <= _SHORT and (bound == bound.flat[0]).all()
            what[name] = bound.flat[0] if alike else bound
    elif isinstance(space, spaces.Discrete):
        what = {"n": int(space.n), "start": int(space.start), "dtype": space.dtype.str}
    elif isinstance(space, spaces.MultiDiscrete):
        what = {"nvec": space.nvec, "start": space.start, "dtype": space.dtype.str}
    elif isinstance(space, spaces.MultiBinary):
        what = {"n": space.n if isinstance(space.n, int) else space.shape}
    elif isinstance(space, spaces.Dict):
        what = {"spaces": list(space.spaces.items())}
    else:
        what = {"spaces": list(space.spaces)}
    return [type(space).__name__, to_json(what, place)]


def _read_space(content: Any, free: _Free) -> spaces.Space:
    name, what = content[0], from_json(content[1], free)
    if name == "Box":
        dtype, shape = _dtype(what["dtype"]), tuple(what["shape"])
        low, high = (_bound(what[name], shape, dtype, free) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype=dtype)
    if name == "Discrete":
        return _with_dtype(spaces.Discrete(what["n"], start=what["start"]), what)
    if name == "MultiDiscrete":
        nvec = what["nvec"]
        return spaces.MultiDiscrete(nvec, _dtype(what["dtype"]), start=what["start"])
    if name == "MultiBinary":
        free.take(np.ravel(what["n"]).tolist(), 1)
        return spaces.MultiBinary(what["n"])
    if name == "Dict":  # in the order in which they are, which Gymnasium would sort
        made = spaces.Dict()
        made.spaces = dict(what["spaces"])
        return made
    if name == "Tuple":
        return spaces.Tuple(what["spaces"])
    raise ValueError(f"there is no space {name}")


def _bound(value: Any, shape: tuple[int, ...], dtype: np.dtype, free: _Free) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        free.take(shape, dtype.itemsize)
        return np.full(shape, value, dtype)
    if value.shape != shape:
        raise ValueError(f"a space of shape {shape} has bounds of shape {value.shape}")
    return value.astype(dtype)


def _with_dtype(space: Any, what: dict[str, Any]) -> Any:
    space.dtype = _dtype(what["dtype"])
    return space


def _write_object(value: Any, place: str) -> list[Any]:
    return [type(value).__name__, to_json(vars(value), place)]


def _read_object(content: Any, free: _Free) -> Any:
    kind = OBJECTS[content[0]]
    made = kind.__new__(kind)
    vars(made).update(from_json(content[1], free))
    return made


def _read_generator(content: Any, free: _Free) -> np.random.Generator:
    state = from_json(content, free)
    if state["bit_generator"] not in GENERATORS:
        raise ValueError(f"numpy has no generator {state['bit_generator']}")
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


_SPACES = (
    *(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
    *(spaces.Dict, spaces.Tuple),
)
_NUMBERS = tuple(x for x in np.sctypeDict.values() if issubclass(x, np.number | np.bool_))
#: By tag: of which types values are written so, how they are written and how they are read.
_FORMS: dict[str, tuple[tuple[type, ...], Callable, Callable]] = {
    ":tuple": ((tuple,), *_of_parts(tuple)),
    ":ordered": (
        (OrderedDict,),
        lambda x, place: [_parts(pair, place) for pair in x.items()],
        lambda content, free: OrderedDict(
            (from_json(key, free), from_json(x, free)) for key, x in content
        ),
    ),
    ":set": ((set,), *_of_parts(set)),
    ":deque": (
        (deque,),
        lambda x, place: [x.maxlen, _parts(x, place)],
        lambda content, free: deque([from_json(x, free) for x in content[1]], content[0]),
    ),
    ":bytes": ((bytes,), lambda x, _: _text(x), _bytes),
    ":array": ((np.ndarray,), _write_array, _read_array),
    ":number": (
        _NUMBERS,
        lambda x, place: _write_array(np.asarray(x), place),
        lambda content, free: _read_array(content, free)[()],
    ),
    ":tensor": (
        (th.Tensor,),
        lambda x, place: _write_array(x.detach().cpu().numpy(), place),
        lambda content, free: th.from_numpy(_read_array(content, free)),
    ),
    ":dtype": ((), str, _dtype),
    ":space": (_SPACES, _write_space, _read_space),
    ":train_freq": (
        (TrainFreq,),
        lambda x, _: [x.frequency, x.unit.value],
        lambda content, _: TrainFreq(content[0], TrainFrequencyUnit(content[1])),
    ),
    ":generator": (
        (np.random.Generator,),
        lambda x, place: to_json(x.bit_generator.state, place),
        _read_generator,
    ),
    ":object": (tuple(OBJECTS.values()), _write_object, _read_object),
}
