"""Notices whether an environment was stepped by someone else than the agent that trains in it."""

import copy
import functools
import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv

#: Methods that move an environment on; ``env_method`` does where it calls one of the others.
MOVING = ("step", "step_wait", "reset", "env_method")


class Visits:
    """Counts the calls that moved one environment on; those inside of each other count once."""

    def __init__(self) -> None:
        self.count = 0
        self._entered = False
        self._inner: list[Visits] = []
        self._own = 0  # calls of the inner ones that came from here

    def contain(self, inner: list["Visits"]) -> None:
        """
        Look also after the environments inside of this one.

        :param inner: their visits
        """
        before = self._inner_count()
        self._inner = inner
        self._own += self._inner_count() - before

    def stamp(self) -> tuple[int, int]:
        """Return how often it was called, and how often something inside was, past it."""
        return self.count, self._inner_count() - self._own

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """
        Count a call and make it.

        :param function: the method
        """
        if self._entered:
            return function(*args, **kwargs)
        self.count += 1
        self._entered, before = True, self._inner_count()
        try:
            return function(*args, **kwargs)
        finally:
            self._entered = False
            self._own += self._inner_count() - before

    def _inner_count(self) -> int:
        return sum(visits.count for visits in self._inner)


class EnvWatch:
    """What an agent knows of the calls of its environment."""

    def __init__(self) -> None:
        self._visits: Visits | None = None
        self._seen = (0, 0)

    def follow(self, env: VecEnv) -> None:
        """
        Watch an environment from now on.

        :param env: training environment
        """
        self._visits = _watch_all(env)
        self.note()

    def note(self) -> None:
        """Take everything that happened until now as the agent's own doing."""
        if self._visits is not None:
            self._seen = self._visits.stamp()

    def note_call(self) -> None:
        """Take one call of the environment as the agent's own, whatever happened beside it."""
        self._seen = (self._seen[0] + 1, self._seen[1])

    def moved(self, own: int = 0) -> bool:
        """
        Return whether someone else has stepped or reset the environment, or a part of it.

        :param own: the agent's own calls since the last note
        """
        if self._visits is None:
            return False
        # More, not other: what cannot be watched counts nothing.
        calls, inside = self._visits.stamp()
        return calls > self._seen[0] + own or inside > self._seen[1]


class _Counted:
    """
    Stands for a method in a class, and counts its calls on those objects that are watched.

    In the class and not in the objects, whose attributes, copies and pickles stay as they are.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(self, method)
        self.method, self.name = method, method.__name__

    def __get__(self, env: Any, owner: type | None = None) -> Any:
        return self.method if env is None else types.MethodType(self, env)

    def __call__(self, env: Any, *args: Any, **kwargs: Any) -> Any:
        visits = _visits_of(env)
        if visits is not None and self.name == "env_method":
            called = kwargs.get("method_name", *args[:1])
            visits = visits if called in MOVING else None
        if visits is None:
            return self.method(env, *args, **kwargs)
        return visits.call(self.method, env, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self.method,)  # a class that travels as a whole takes the method along


_NOT_COUNTED = (_Counted, staticmethod, classmethod)
#: By id, since environments may define what equal means.
_WATCHED: dict[int, tuple["weakref.ref[Any]", Visits]] = {}


def _visits_of(env: Any) -> Visits | None:
    entry = _WATCHED.get(id(env))
    return entry[1] if entry is not None and entry[0]() is env else None


def _watch_all(env: VecEnv) -> Visits:
    """Watch a VecEnv, the innermost one and the single environments of that."""
    innermost: Any = env.unwrapped
    singles = [*getattr(innermost, "envs", ()), getattr(innermost, "env", None)]
    parts = [single.unwrapped for single in singles if isinstance(single, gym.Env | VectorEnv)]
    if innermost is env:
        return _watch(env, parts)
    return _watch(env, [innermost, *parts])


def _watch(env: Any, parts: list[Any]) -> Visits:
    inner = [_watch(part, []) for part in parts]
    visits = _visits_of(env) or Visits()
    if parts:
        visits.contain(inner)
    key, cls = id(env), type(env)
    try:
        for name in MOVING:
            method = inspect.getattr_static(cls, name, None)
            if inspect.isroutine(method) and not isinstance(method, _NOT_COUNTED):
                setattr(cls, name, _Counted(method))
        _WATCHED[key] = weakref.ref(env, lambda _: _WATCHED.pop(key, None)), visits
    except (AttributeError, TypeError):  # a class written in C, or without weak references
        pass
    return visits
