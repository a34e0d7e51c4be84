"""What environments hold, by place: values to compare, and objects to find again."""

import collections
import enum
import hashlib
import logging
import pickle
import random
import types
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

#: Sources of randomness: where they stand is no setting, and going on exactly continues them.
STREAMS = (np.random.Generator, np.random.RandomState, random.Random, th.Generator)
#: Belongs to the program that the environments are part of; neither looked into nor copied.
PROGRAM = (BaseAlgorithm, BaseCallback, VecEnv)

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_NAMED = (type, types.ModuleType, types.BuiltinFunctionType, enum.Enum)
#: Neither compared nor looked into, and not to be found again.
_LEFT_OUT = (
    np.random.BitGenerator,
    np.random.SeedSequence,
    weakref.ReferenceType,
    logging.Logger,
    ResultsWriter,
    types.CodeType,
    types.FrameType,
)
#: What gymnasium's and SB3's own layers keep for an episode, or from their beginning.
_EPISODE = (
    *("current_reset_info", "episode_lengths", "episode_returns", "episode_times", "rewards"),
    *("_cached_spec", "_elapsed_steps", "_has_rendered", "_has_reset", "_options"),
    *("actions", "buf_dones", "buf_infos", "buf_obs", "buf_rews", "checked_render"),
    *("checked_reset", "checked_step", "class_attributes", "needs_reset", "obs_rms", "old_obs"),
    *("old_reward", "reset_infos", "ret_rms", "returns", "t_start", "total_steps"),
)
#: Records of a constructor's arguments.
_RECORDS = ("_saved_kwargs", "_ezpickle_args", "_ezpickle_kwargs", "spec")
_LIBRARIES = ("gymnasium", "stable_baselines3")
#: Longer containers and texts are compared as a whole, by a digest.
_LONGEST = 64
#: Arrays of so many bytes are shown with their numbers.
_FEW = 64
_DEEPEST = 12
#: Places of an environment that are looked at; what is beyond is not compared.
_MOST = 5_000


def stacks_of(env: VecEnv) -> list[list[Any]]:
    """List the VecEnv with its wrappers, then every single environment with its own."""
    vec: list[Any] = [env]
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        vec.append(env)
    return [vec, *(_layers(single) for single in getattr(env, "envs", []))]


def _layers(env: gym.Env) -> list[gym.Env]:
    layers = [env]
    while isinstance(env, gym.Wrapper):
        env = env.env
        layers.append(env)
    return layers


def were_used(stacks: list[list[Any]]) -> bool:
    """Return whether environments have been reset before, as far as their layers know."""
    for layer in (layer for stack in stacks for layer in stack):
        values = vars(layer)
        if values.get("_has_reset") or values.get("_np_random") is not None:
            return True
        if isinstance(layer, Monitor) and (layer.total_steps or not layer.needs_reset):
            return True
    return False


class Look:
    """
    What environments hold at this moment.

    A place is a path such as ``envs[0].CartPoleEnv.gravity``; an object that several places hold
    has the first of them, and the others say so.

    :param stacks: of :func:`stacks_of`
    """

    def __init__(self, stacks: list[list[Any]]) -> None:
        #: Small values as they are, of others what tells them apart.
        self.values: dict[str, Any] = {}
        #: What can be changed or shared.
        self.objects: dict[str, Any] = {}
        #: Place of the object that a place belongs to.
        self.parents: dict[str, str] = {}
        self._first: dict[int, str] = {}
        layers = {id(layer) for stack in stacks for layer in stack}
        for i, stack in enumerate(stacks):
            self._room = _MOST
            names: collections.Counter[str] = collections.Counter()
            for layer in stack:
                name = type(layer).__name__
                names[name] += 1
                place = f"envs[{i - 1}].{name}" if i else name
                if names[name] > 1:
                    place += f"#{names[name]}"
                self._look_into_layer(layer, place, layers)

    def lies_in(self, place: str, places: Set[str]) -> bool:
        """
        Return whether a place is one of some, or within one.

        :param place: of this look
        :param places: of this look
        """
        while place not in places:
            if place not in self.parents:
                return False
            place = self.parents[place]
        return True

    def _look_into_layer(self, layer: Any, place: str, layers: set[int]) -> None:
        of_library = type(layer).__module__.partition(".")[0] in _LIBRARIES
        # Last, so that what they repeat is known by its own name.
        for name, value in sorted(_attributes(layer).items(), key=lambda part: part[0] in _RECORDS):
            if not (of_library and name in _EPISODE):
                self._look_at(value, f"{place}.{name}", place, layers, 0)

    def _look_at(self, value: Any, place: str, parent: str, layers: set[int], depth: int) -> None:
        if self._room <= 0 or isinstance(value, _LEFT_OUT) or id(value) in layers:
            return
        if isinstance(value, np.generic):
            value = value.item()
        is_number = value is None or isinstance(value, int)
        if is_number and place.rstrip("_").endswith(("seed", "seeds", "np_random")):
            return
        self._room -= 1
        self.parents[place] = parent
        if isinstance(value, _PLAIN):
            self.values[place] = _short(value)
        elif isinstance(value, _NAMED):
            self.values[place] = f"{getattr(value, '__module__', '')}.{value}"
        elif isinstance(value, tuple | types.MethodType):
            self._look_into(value, place, layers, depth)
        elif isinstance(value, gym.Space):  # whether two are one object is no setting
            self._first.setdefault(id(value), place)
            self.objects[self._first[id(value)]] = value
            self.values[place] = _describe_space(value)
        elif id(value) in self._first:
            self.values[place] = f"the object at {self._first[id(value)]}"
        else:
            self._first[id(value)] = place
            if not isinstance(value, types.FunctionType):
                self.objects[place] = value
            self._look_into(value, place, layers, depth)

    def _look_into(self, value: Any, place: str, layers: set[int], depth: int) -> None:
        try:
            summary, parts = _open(value)
            parts = list(parts)
        except Exception:  # whatever the object itself raises: it cannot be compared
            return
        if summary is not None:
            self.values[place] = summary
        if depth < _DEEPEST:
            for name, part in parts:
                self._look_at(part, place + name, place, layers, depth + 1)


_Parts = Iterator[tuple[str, Any]] | list[tuple[str, Any]]


def _open(value: Any) -> tuple[Any, _Parts]:
    """Return what of an object is compared as a whole, and what it consists of."""
    kind = type(value).__name__
    if isinstance(value, STREAMS):
        inner = type(getattr(value, "bit_generator", None)).__name__
        return f"{kind} of {inner}", []
    if isinstance(value, (*PROGRAM, th.nn.Module)):
        return None, []
    if isinstance(value, np.ndarray | th.Tensor):
        return _describe(value), []
    if isinstance(value, list | tuple | collections.deque):
        if len(value) > _LONGEST:
            return f"{kind} of {len(value)}{_digest_of_plain(value)}", []
        return f"{kind} of {len(value)}", [(f"[{i}]", part) for i, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return f"{kind} of {len(value)}{_digest_of_plain(value)}", []
    if isinstance(value, dict):
        if len(value) > _LONGEST:
            return f"{kind} of {len(value)}{_digest_of_plain(value.items())}", []
        named = {repr(key): part for key, part in value.items() if _is_plain(key)}
        others = [f"{len(value) - len(named)} more"] if len(value) > len(named) else []
        summary = f"{kind} of {', '.join(sorted(named) + others)}"
        return summary, [(f"[{name}]", part) for name, part in named.items()]
    if isinstance(value, types.MethodType):
        return None, [("()", value.__func__), (".self", value.__self__)]
    if isinstance(value, types.FunctionType):
        return _open_function(value)
    return _open_object(value)


def _open_function(function: Callable[..., Any]) -> tuple[Any, _Parts]:
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" not in name and function.__module__ != "__main__":
        return name, []
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    parts = [(f"({name})", cell.cell_contents) for name, cell in cells if _is_full(cell)]
    return f"{name} ({_digest(*_code_parts(code))})", [*parts, ("()", function.__defaults__)]


def _code_parts(code: types.CodeType) -> Iterator[Any]:
    yield from (code.co_code, code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_parts(constant)
        elif not isinstance(constant, frozenset):  # in an order of its own in every process
            yield constant


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _open_object(value: Any) -> tuple[Any, _Parts]:
    kind = type(value)
    if _is_physics(kind):  # its own state changes at every step, its model seldom does
        return None, _model_fields(value.model.ptr)
    if _pickles_its_own_way(kind) or not hasattr(value, "__dict__"):
        digest = _pickled(value)
        return None if digest is None else f"{kind.__name__} ({digest})", []
    parts = _attributes(value)
    return f"{kind.__name__} with {', '.join(sorted(parts))}", [
        (f".{k}", v) for k, v in parts.items()
    ]


def _describe_space(space: gym.Space) -> str:
    """Return which members a space has; where its random numbers stand is no setting."""
    bounds = (getattr(space, name, None) for name in ("low", "high", "n", "nvec", "start"))
    parts: list[Any] = [np.asarray(bound).tobytes() for bound in bounds if bound is not None]
    inner = getattr(space, "spaces", ())
    parts += [_describe_space(s) for s in (inner.values() if isinstance(inner, Mapping) else inner)]
    return f"{space} ({_digest(*parts)})"


def _model_fields(model: Any) -> Iterator[tuple[str, Any]]:
    """Return what MuJoCo's model holds, by field: some tasks change one of them at every reset."""
    for prefix, struct in ((".model.", model), (".model.opt.", model.opt)):
        for name in dir(struct):
            value = None if name.startswith("_") else getattr(struct, name)
            if isinstance(value, np.ndarray):
                yield prefix + name, _describe(value)
            elif isinstance(value, int | float):
                yield prefix + name, value


def _attributes(value: Any) -> dict[str, Any]:
    """Collect an object's attributes with the plain ones that it has from its class."""
    found: dict[str, Any] = {}
    for base in reversed(type(value).__mro__):
        own = vars(base).items()
        found |= {k: v for k, v in own if isinstance(v, _PLAIN) and not k.startswith("__")}
    return found | vars(value)


def _is_physics(kind: type) -> bool:
    """Recognize dm_control's simulators."""
    return any(
        base.__module__ == "dm_control.mujoco.engine" and base.__name__ == "Physics"
        for base in kind.__mro__
    )


def _pickles_its_own_way(kind: type) -> bool:
    names = ("__reduce_ex__", "__reduce__", "__getstate__")
    return any(getattr(kind, name, None) is not getattr(object, name, None) for name in names)


def _short(value: Any) -> Any:
    if isinstance(value, str | bytes) and len(value) > _LONGEST:
        return f"{value[:20]!r}... ({_digest(value)})"
    return value


def _describe(value: np.ndarray | th.Tensor) -> str | None:
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return None
    if value.nbytes <= _FEW:
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, th.Tensor):
        data = value.detach().cpu().flatten().view(th.uint8).numpy().data
    else:
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    return f"{value.dtype} of shape {tuple(value.shape)} ({_digest(data)})"


def _digest_of_plain(values: Collection[Any]) -> str:
    if not all(_is_plain(value) for value in values):
        return ""
    texts = map(repr, values)
    return f" ({_digest(*(texts if isinstance(values, Sequence) else sorted(texts)))})"


def _is_plain(value: Any, depth: int = 3) -> bool:
    if depth and isinstance(value, list | tuple):
        return all(_is_plain(part, depth - 1) for part in value)
    return isinstance(value, (*_PLAIN, np.generic))


def _pickled(value: Any) -> str | None:
    try:
        return _digest(pickle.dumps(value, protocol=5))
    except Exception:  # whatever the object itself raises: it cannot be compared
        return None


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=4)
    for part in parts:
        digest.update(part if isinstance(part, bytes | memoryview) else repr(part).encode())
    return digest.hexdigest()
