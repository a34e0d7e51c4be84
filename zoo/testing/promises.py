"""What a check of an agent is: a promise with a name, who gave it, and where it is written."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th

from dreamzoo.testing.case import Case

#: Who promises: Stable-Baselines3 for all of its algorithms, or dreamzoo for its own.
SB3, DREAMZOO = "Stable-Baselines3", "dreamzoo"

#: Says why a promise does not concern an agent; None if it does.
Reason = Callable[[Case], "str | None"]


class BrokenPromise(AssertionError):
    """
    An agent does not keep a promise; the message says which, and where it is written.

    Example:
        >>> from stable_baselines3 import DQN
        >>> from dreamzoo.testing import CHECKS, BrokenPromise, Case
        >>> try:
        ...     CHECKS["observations_of_nan_are_refused"](Case(DQN))
        ... except BrokenPromise as broken:
        ...     print(str(broken).splitlines()[0])
        DQN breaks a promise of dreamzoo, 'observations_of_nan_are_refused'.
    """


class Found(AssertionError):
    """What a check found instead of what it expected."""


@dataclass(frozen=True)
class Promise:
    """
    One promise of the agent contract; calling it with a :class:`Case` checks it.

    :param name: name of the check
    :param whose: ``SB3`` or ``DREAMZOO``
    :param source: where the promise is written
    :param check: raises if it is broken; its docstring states the promise
    :param unless: reasons why it may not concern an agent
    """

    name: str
    whose: str
    source: str
    check: Callable[[Case], None]
    unless: Sequence[Reason] = ()

    @property
    def text(self) -> str:
        """The promise in words."""
        return " ".join((inspect.getdoc(self.check) or "").split())

    def why_not(self, case: Case) -> str | None:
        """Return why it does not concern an agent; None if it does."""
        return next((why for reason in self.unless if (why := reason(case))), None)

    def __call__(self, case: Case) -> None:
        """
        Check the promise, whether it concerns the agent or not.

        :param case: the agent, its environment and its arguments
        :raises BrokenPromise: if it is broken; also if the agent raises anything on the way
        """
        try:
            self.check(case)
        except Found as found:
            what = str(found)
        except Exception as error:
            what = f"Found: {_first_line(error)}. Expected: no error."
            raise BrokenPromise(self._message(case, what)) from error
        else:
            return
        raise BrokenPromise(self._message(case, what))

    def _message(self, case: Case, what: str) -> str:
        return (
            f"{case.agent_class.__name__} breaks a promise of {self.whose}, {self.name!r}.\n"
            f"  {self.text}\n  {what}\n"
            f"  Written in: {self.source}; checked by {self.check.__module__}.{self.name}."
        )


def promise(whose: str, source: str, *unless: Reason) -> Callable[[Callable], Promise]:
    """
    Make a promise of a function that checks it.

    :param whose: ``SB3`` or ``DREAMZOO``
    :param source: where it is written
    :param unless: reasons why it may not concern an agent
    :return: decorator
    """
    return lambda check: Promise(check.__name__, whose, source, check, unless)


def require(kept: bool | np.bool_, found: str, expected: str) -> None:
    """
    Raise unless something is kept.

    :param kept: whether it is
    :param found: what is there
    :param expected: what should be
    :raises Found: if not
    """
    if not kept:
        raise Found(f"Found: {found}. Expected: {expected}.")


def require_error(
    call: Callable[[], Any], errors: tuple[type[Exception], ...], what: str, says: str = ""
) -> None:
    """
    Raise unless a call is refused.

    :param call: what shall be refused
    :param errors: how
    :param what: the call in words
    :param says: what the message must contain
    :raises Found: if it is not refused, or otherwise
    """
    expected = f"{' or '.join(error.__name__ for error in errors)}" + (
        f" whose message names {says!r}" if says else ""
    )
    try:
        call()
    except Exception as error:
        kept = isinstance(error, errors) and says in str(error)
        require(kept, f"{what} raised {_first_line(error)}", expected)
    else:
        require(False, f"{what} was not refused", expected)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(". ")


def difference(one: Any, other: Any, name: str = "", tolerance: float = 0.0) -> str:
    """
    Name the first place where two nested structures differ.

    :param one: tensors, arrays, numbers; dicts, lists and tuples of them
    :param other: to compare with
    :param name: of the whole
    :param tolerance: allowed between numbers; 0: bit for bit
    :return: ``""`` if they are equal
    """
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{name} has the keys {sorted(one.keys() ^ other.keys(), key=str)} once only"
        pairs = [(f"{name}[{key!r}]", one[key], other[key]) for key in one]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{name} has {len(one)} parts, and {len(other)}"
        pairs = [(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    else:
        return "" if _equal(one, other, tolerance) else f"{name} differs, {_apart(one, other)}"
    found = (difference(a, b, part, tolerance) for part, a, b in pairs)
    return next(filter(None, found), "")


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if not (_is_numeric(one) and _is_numeric(other)):
        return bool(one == other)
    a, b = _array(one), _array(other)
    if tolerance and a.shape == b.shape:
        return np.allclose(a.astype(float), b.astype(float), rtol=0.0, atol=tolerance)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" == b.dtype.kind)


def _apart(one: Any, other: Any) -> str:
    """Say how far two values are apart that are not equal."""
    if not (_is_numeric(one) and _is_numeric(other)) or _array(one).ndim == _array(other).ndim == 0:
        return f"{one} and {other}"
    a, b = _array(one), _array(other)
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    return f"by up to {np.abs(a.astype(float) - b.astype(float)).max():.2g}"


def _is_numeric(value: Any) -> bool:
    return isinstance(value, th.Tensor | np.ndarray | np.generic | float | int)


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, th.Tensor) else value)
