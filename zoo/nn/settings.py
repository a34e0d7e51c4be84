"""What a setting may be: one table for each owner, one check for all."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Setting(Protocol):
    """What one setting may be."""

    def read(self, value: Any) -> Any:
        """
        Return the value as Python's own type.

        :raises ValueError: says what is expected
        """


@dataclass(frozen=True)
class Number:
    """
    A finite number; numpy's count, truth values do not.

    :param low: smallest value
    :param high: largest value
    :param above: whether ``low`` itself is excluded
    :param none: whether None is allowed, too
    :param infinite: whether infinity is allowed, too
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    none: bool = False
    infinite: bool = False

    def read(self, value: Any) -> float | None:
        if value is None and self.none:
            return None
        if isinstance(value, self._kind()) and not isinstance(value, bool):
            number: Any = value.item() if isinstance(value, np.generic) else value
            inside = self.low < number if self.above else self.low <= number
            finite = math.isfinite(number) or (self.infinite and number == math.inf)
            if inside and number <= self.high and finite:
                return number
        raise ValueError(f"must be {self}")

    def _kind(self) -> Any:
        return numbers.Real

    def __str__(self) -> str:
        if math.isfinite(self.high):
            bounds = f"between {self.low} and {self.high}"
            bounds = f"more than {self.low} and at most {self.high}" if self.above else bounds
        else:
            bounds = f"{'more than' if self.above else 'at least'} {self.low}"
        parts = [f"{bounds}, a {self._name()}"]
        parts += ["None"] if self.none else []
        return " or ".join(parts)

    def _name(self) -> str:
        return "number" if self.infinite else "finite number"


@dataclass(frozen=True)
class Whole(Number):
    """A whole number, see :class:`Number`; one of type float does not count."""

    def _kind(self) -> Any:
        return numbers.Integral

    def _name(self) -> str:
        return "whole number"


#: A number, or the line ``(from, to, steps)`` that a value moves along, see :class:`Line`.
Moving = float | tuple[float, float, int]


@dataclass(frozen=True)
class Line:
    """
    A number, or three that draw a line: from, to, and over so many steps it gets there.

    :param low: smallest value
    :param high: largest value
    :param such_as: a line that makes sense
    """

    low: float = -math.inf
    high: float = math.inf
    such_as: Moving = (3e-3, 3e-4, 2_500_000)

    def read(self, value: Any) -> float | tuple[float, float, int]:
        number = Number(self.low, self.high)
        try:
            if isinstance(value, list | tuple) and len(value) == 3:
                start, end = (float(number.read(x) or 0) for x in value[:2])
                return start, end, int(Whole(1).read(value[2]) or 0)
            return float(number.read(value) or 0)
        except ValueError:
            raise ValueError(
                f"must be {number}, or three such as {self.such_as}: from, to, and the steps on "
                "the way"
            ) from None


def at_step(value: Moving, step: int) -> float:
    """
    Return where a setting stands at a step.

    :param value: a number, or a line, see :class:`Line`
    :param step: of all environments together
    """
    if not isinstance(value, tuple):
        return value
    start, end, steps = value
    return start + (end - start) * min(step / steps, 1.0)


@dataclass(frozen=True)
class Choice:
    """
    One of some names.

    :param names: these
    """

    names: Sequence[str]

    def read(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        *first, last = map(repr, self.names)
        raise ValueError(f"must be one of {', '.join(first)} or {last}")


@dataclass(frozen=True)
class Flag:
    """
    True or False; nothing else that happens to count as one of them.

    :param none: whether None is allowed, too
    """

    none: bool = False

    def read(self, value: Any) -> bool | None:
        if value is None and self.none:
            return None
        if isinstance(value, bool | np.bool_):
            return bool(value)
        raise ValueError("must be True, False or None" if self.none else "must be True or False")


class Widths:
    """Widths of a network's hidden layers, as a list of Python's own numbers."""

    number = Whole(1)

    def read(self, value: Any) -> list[int]:
        try:
            if not isinstance(value, list | tuple):
                raise ValueError
            return [int(self.number.read(width) or 0) for width in value]
        except ValueError:
            raise ValueError("must be a list of widths, whole numbers of at least 1") from None


@dataclass(frozen=True)
class Kind:
    """
    A class, not an object of it or its name.

    :param base: what it is derived from
    :param none: whether None is allowed, too
    """

    base: type
    none: bool = False

    def read(self, value: Any) -> type | None:
        if value is None and self.none:
            return None
        if isinstance(value, type) and issubclass(value, self.base):
            return value
        base = f"{self.base.__module__}.{self.base.__qualname__}"
        raise ValueError(f"must be a class derived from {base}{' or None' if self.none else ''}")


@dataclass(frozen=True)
class Arguments:
    """
    Named arguments of what is built.

    :param none: whether None is allowed, too
    """

    none: bool = False

    def read(self, value: Any) -> Any:
        if value is None and self.none:
            return None
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return value
        raise ValueError(f"must be a dict of named arguments{' or None' if self.none else ''}")


def read_settings(
    owner: str, settings: Mapping[str, Setting], values: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Check settings against what they may be.

    :param owner: whose settings they are
    :param settings: what each may be
    :param values: all of them, and possibly others
    :return: the same values, those of numpy as Python's own
    :raises ValueError: names the setting, what was given and what is expected
    """
    read = {}
    for name, setting in settings.items():
        try:
            read[name] = setting.read(values[name])
        except ValueError as error:
            label = name.lstrip("_")  # SB3 keeps some under such a name
            raise ValueError(f"{owner}: {label}={values[name]!r} {error}.") from None
    return read
