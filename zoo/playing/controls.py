"""How a person says what to do: keys and dials for any action space."""

import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dreamzoo.nn.actions import ActionCodec

#: Keys of a browser for pairs of opposite directions of the first dials.
_PAIRS = [
    ("ArrowLeft", "ArrowRight"),
    ("ArrowDown", "ArrowUp"),
    ("a", "d"),
    ("s", "w"),
    ("f", "h"),
    ("g", "t"),
    ("j", "l"),
    ("k", "i"),
]
#: Keys for what actions of games are called.
_NAMED = {
    "LEFT": "ArrowLeft",
    "RIGHT": "ArrowRight",
    "UP": "ArrowUp",
    "DOWN": "ArrowDown",
    "FIRE": "x",
    "NOOP": "0",
}
_DIGITS = "1234567890"


class Choice(NamedTuple):
    """
    One of several actions.

    :param name: shown to a person
    :param key: that chooses it, as a browser names keys; empty without one
    """

    name: str
    key: str


class Dial(NamedTuple):
    """
    One number of an action.

    :param name: shown to a person
    :param low: lowest value in replay form
    :param high: highest value
    :param step: between two values; 0 where any number is one
    :param rest: while nobody touches it
    :param less: key that turns it down, empty without one
    :param more: key that turns it up
    """

    name: str
    low: float
    high: float
    step: float
    rest: float
    less: str
    more: str


class Controls:
    """
    What a person can do in an action space, in replay form (see :class:`ActionCodec`).

    Discrete actions are choices; every number of another space has a dial: in [-1, 1] of a Box,
    from 0 of the others.

    Example:
        >>> from dreamzoo.playing.controls import Controls
        >>> from gymnasium import spaces
        >>> [choice.key for choice in Controls(spaces.Discrete(2)).choices]
        ['ArrowLeft', 'ArrowRight']
        >>> Controls(spaces.Box(0.0, 8.0, (2,))).to_env([1.0, 0.0]).tolist()
        [8.0, 4.0]

    :param space: action space
    :param names: of discrete actions, such as Atari's; None: their numbers
    """

    def __init__(self, space: spaces.Space, names: list[str] | None = None) -> None:
        self.codec = ActionCodec(space)
        self.choices: list[Choice] = []
        self.dials: list[Dial] = []
        if isinstance(space, spaces.Discrete):
            self.choices = _choices(self.codec.sizes[0], names)
        else:
            self.dials = _dials(self.codec)

    @property
    def rest(self) -> list[float]:
        """The action while nobody does anything, (replay_dim,)."""
        if self.dials:
            return [dial.rest for dial in self.dials]
        names = [choice.name for choice in self.choices]
        return [names.index("NOOP") if "NOOP" in names else 1 if len(names) == 3 else 0]

    @property
    def returns(self) -> bool:
        """Whether doing nothing is one of the choices, to which a released key returns."""
        return len(self.choices) == 3 or any(choice.name == "NOOP" for choice in self.choices)

    def read(self, action: Any) -> np.ndarray:
        """
        Take an action that a browser or a file gives.

        :param action: numbers in replay form; one number stands for a list of one
        :return: (1, replay_dim), int64 of discrete spaces, else float32
        :raises ValueError: for anything else
        """
        numbers = action if isinstance(action, list | tuple | np.ndarray) else [action]
        dim, sizes = self.codec.replay_dim, self.codec.sizes
        expected = f"{dim} numbers in [-1, 1]" if not sizes else f"whole numbers below {sizes}"
        wrong = ValueError(f"{action!r} is no action here; expected {expected}.")
        if len(numbers) != dim or not all(_is_number(x) for x in numbers):
            raise wrong
        if not sizes:
            return np.clip(np.array([numbers], np.float32), -1.0, 1.0)
        if any(x != int(x) or not 0 <= x < size for x, size in zip(numbers, sizes, strict=True)):
            raise wrong
        return np.array([numbers]).astype(np.int64)

    def to_env(self, action: Any) -> np.ndarray:
        """Turn an action into what the environment takes."""
        return self.codec.to_env(self.read(action))[0]

    def describe(self) -> dict[str, Any]:
        """Return all of it in plain lists and dicts, for a page."""
        return {
            "choices": [choice._asdict() for choice in self.choices],
            "dials": [dial._asdict() for dial in self.dials],
            "rest": self.rest,
            "returns": self.returns,
        }


def _is_number(x: Any) -> bool:
    is_number = isinstance(x, int | float | np.number) and not isinstance(x, bool)
    return is_number and math.isfinite(x)


def _choices(n: int, names: list[str] | None) -> list[Choice]:
    if names is not None and len(names) == n:
        free = iter(_DIGITS)
        keys = [_NAMED.get(name.upper()) or next(free, "") for name in names]
        return [Choice(name.upper(), key) for name, key in zip(names, keys, strict=True)]
    few = {2: ["ArrowLeft", "ArrowRight"], 3: ["ArrowLeft", "ArrowDown", "ArrowRight"]}
    keys = few.get(n, [*_DIGITS[:n], *[""] * (n - 10)])
    return [Choice(str(i), key) for i, key in enumerate(keys)]


def _dials(codec: ActionCodec) -> list[Dial]:
    pairs = [*_PAIRS, *[("", "")] * max(0, codec.replay_dim - len(_PAIRS))]
    if not codec.is_discrete:
        return [Dial(str(i), -1.0, 1.0, 0.0, 0.0, *pairs[i]) for i in range(codec.replay_dim)]
    return [Dial(str(i), 0, size - 1, 1, 0, *pairs[i]) for i, size in enumerate(codec.sizes)]
