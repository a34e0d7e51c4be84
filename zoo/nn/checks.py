"""The border: what comes from outside is checked here once, before it is read or stored."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.nn.observations import SINGLE, Key, Observation, ObservationCodec, is_byte_image

#: What lies in front of the shape of a space, by the number of batch axes.
_LEADS: tuple[tuple[str, ...], ...] = ((), ("n",), ("rows", "steps"))

#: How far a float image may leave its bounds, in parts of their distance: rounding does that.
_SLACK = 1e-3


class InputError(ValueError):
    """
    Says what was given, where, and what is expected.

    :param what: what is wrong, after an article: "observation 'speed' with NaN or infinity"
    :param detail: what was found and what is expected
    """

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what[0].upper()}{what[1:]}: {detail}.")
        self.what, self.detail = what, detail


class Rule(NamedTuple):
    """
    Which numbers are let in.

    :param low: smallest, for all or for each; minus infinity: any finite number
    :param high: largest, for all or for each
    :param expected: the same in words
    :param rounded: dtype that they are rounded to first, the narrowest they will be kept in; None:
        they must be integers, of whatever dtype
    :param every: dtype all of whose values are let in
    """

    low: float | np.ndarray
    high: float | np.ndarray
    expected: str
    rounded: np.dtype | None = None
    every: np.dtype | None = None

    def holds(self, x: np.ndarray) -> bool:
        """Return whether all numbers keep the rule."""
        if self.every is not None and x.dtype == self.every:
            return True
        # Counting takes a third of the time of all(), min() or max().
        return np.count_nonzero(self._good(x)) == x.size

    def _good(self, x: np.ndarray) -> np.ndarray:
        """Return which numbers keep the rule."""
        if self.rounded is not None:
            x = cast(x, self.rounded)
            if self.low == -np.inf and self.high == np.inf:
                return np.isfinite(x)
        good = (x >= self.low) & (x <= self.high)  # NaN compares as false
        if self.rounded is None and x.dtype.kind == "f":
            good &= _is_whole(x)
        return good

    def check(self, x: np.ndarray, name: str) -> None:
        """
        Refuse numbers that break the rule.

        :param x: numbers of any real dtype, not empty
        :param name: what they are
        :raises InputError: names the first of them
        """
        if self.holds(x):
            return
        place = np.unravel_index(int(np.argmin(self._good(x))), x.shape)
        value, where = x[place], f" at {tuple(map(int, place))}" if x.ndim else ""
        what = f"{name} outside its space" if np.isfinite(value) else f"{name} with NaN or infinity"
        raise InputError(what, f"{value}{where}; expected {self.expected}")


def _is_whole(x: np.ndarray) -> np.ndarray:
    """Return which floats are integers; beyond 2^53 they stand for many."""
    return (x == np.rint(x)) & (np.abs(x) <= np.float64(2**53))


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round to another dtype, too large numbers to infinity."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        return x.astype(dtype)


#: Numbers that float32 can hold: rewards, and what networks read where nothing else is known.
FLOAT32 = Rule(-np.inf, np.inf, "finite numbers of float32", np.dtype(np.float32))


def to_host(value: Any, name: str, expected: Any) -> np.ndarray:
    """
    Turn what holds real numbers into an array, sharing its memory where that is possible.

    :param value: array, tensor, number, or nested lists of these
    :param name: what it is
    :param expected: what should be there, for the message
    :raises InputError: for anything else: None, strings, complex numbers, ragged lists
    """
    array = value
    try:
        if isinstance(value, Tensor):
            array = value.detach().cpu()
            array = array.float() if array.dtype == th.bfloat16 else array  # numpy has none
        array = np.asarray(array)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} that is no array", f"{error}; expected {expected}") from None
    if array.dtype.kind not in "biuf":
        kind = type(value).__name__
        raise InputError(
            f"{name} of numbers that are not real",
            f"{kind} of the dtype {array.dtype}; expected {expected}",
        )
    return array


class ObservationChecker:
    """
    Refuse observations that cannot be stored or read, and turn the others into arrays.

    The rules, the same for collecting, acting and the contexts of dreams:

    - Keys and shapes are the space's. Images of bytes may come channels last.
    - Numbers are real, of any dtype. Integers may come as floats, if they are whole.
    - Nothing is NaN or infinite, also not in the dtype of the space, in which it is stored, and
      in float32, in which networks read it.
    - Integers and binaries are members of their space. Numbers of an integer Box fit its dtype.
    - Images lie between their bounds. Vectors may leave those of a Box, as everywhere in SB3.

    What a ``VecNormalize`` has normalized must only be finite. Values of tensors are looked at on
    a CPU only: elsewhere that would wait for the device.

    :param codec: the observation space
    """

    def __init__(self, codec: ObservationCodec) -> None:
        self.codec = codec
        self._rules = {key.name: _rule(key) for key in codec.keys}
        self._shapes = {key.name: tuple(key.space.shape or ()) for key in codec.keys}
        self._bytes = {key.name for key in codec.keys if is_byte_image(key.space)}

    def check(
        self, observation: Any, axes: int = 1, name: str = "observation", *, raw: bool = False
    ) -> tuple[int, ...]:
        """
        Refuse a batch that cannot be stored or read.

        :param observation: arrays or tensors, ``axes`` batch axes in front of the space's own
        :param axes: number of batch axes, 0 to 2
        :param name: what it is
        :param raw: it comes from below a ``VecNormalize``, whose keys are not bounded by the space
        :return: sizes of the batch axes
        :raises InputError: names key, value and what is expected
        """
        leads = {}
        for key, label, value in self._parts(observation, name):
            there = isinstance(value, Tensor)
            x = value if there else to_host(value, label, key.space)
            own = self._shapes[key.name]
            lead = tuple(x.shape[:axes])
            # The replay stores single integers as (..., 1).
            shapes = (own, (1,)) if isinstance(key.space, spaces.Discrete) else (own,)
            if len(lead) != axes or tuple(x.shape[axes:]) not in shapes or 0 in lead:
                raise _wrong_shape(label, tuple(x.shape), key, [_shape(axes, own)])
            leads[label] = lead
            if there and not value.is_cpu:
                if value.dtype.is_complex:
                    raise InputError(f"{label} of complex numbers", f"expected {key.space}")
                continue
            x = to_host(value, label, key.space) if there else x
            self._rule(key, raw).check(x, label)
        if len(set(leads.values())) > 1:
            raise InputError(f"{name} of different lengths", f"{leads}; expected the same of each")
        return next(iter(leads.values()))

    def to_arrays(
        self, observation: Any, name: str = "observation"
    ) -> tuple[dict[str, np.ndarray], bool]:
        """
        Turn one observation or a batch of n, in any form that Stable-Baselines3 takes, into arrays.

        :param observation: arrays, tensors, numbers or lists
        :param name: what it is
        :return: one array for each of the codec's keys, (n, ...), in the dtype it is stored in; and
            whether it was a batch
        :raises InputError: names key, value and what is expected
        """
        arrays, sizes = {}, {}
        for key, label, value in self._parts(observation, name):
            x, is_batch = self._align(key, to_host(value, label, key.space), label)
            self._rule(key).check(x, label)
            sizes[label] = len(x) if is_batch else None
            arrays[key.name] = self._stored(key, x if is_batch else x[None])
        if len(sizes) > 1 and len(set(sizes.values())) > 1:
            raise InputError(f"{name} of different lengths", f"{sizes}; expected the same of each")
        return arrays, is_batch

    def to_tensors(self, observation: Any, device: th.device) -> Observation:
        """
        Put a batch that :meth:`check` let in on a device.

        :param observation: the batch
        :param device: where to
        """
        tensors = {}
        for key, label, x in self._parts(observation, "observation"):
            if not isinstance(x, Tensor):
                x = th.from_numpy(self._stored(key, to_host(x, label, key.space)))
            tensors[key.name] = x.to(device)
        return tensors if self.codec.is_dict else tensors[SINGLE]

    def _stored(self, key: Key, x: np.ndarray) -> np.ndarray:
        """Copy numbers in the dtype that the replay stores or, if they are normalized, samples."""
        dtype = key.space.dtype
        if dtype is None or key.name in self.codec.normalized:
            dtype = np.dtype(np.float32)
        # Torch takes neither negative strides nor memory that must not be written to.
        return cast(x, dtype).copy(order="C")

    def _parts(self, observation: Any, name: str) -> list[tuple[Key, str, Any]]:
        """List key, name and value of every part."""
        if not self.codec.is_dict:
            if isinstance(observation, Mapping):
                found = f"keys {list(observation)}"
                raise InputError(f"{name} that is a dict", f"{found}; expected {self.codec.space}")
            return [(self.codec.keys[0], name, observation)]
        names = [key.name for key in self.codec.keys]
        if not isinstance(observation, Mapping):
            kind = type(observation).__name__
            raise InputError(f"{name} that is no dict", f"{kind}; expected the keys {names}")
        if len(observation) != len(names) or not all(key in observation for key in names):
            raise InputError(
                f"{name} with missing or unknown keys", f"{list(observation)}; expected {names}"
            )
        return [(key, f"{name} {key.name!r}", observation[key.name]) for key in self.codec.keys]

    def _align(self, key: Key, x: np.ndarray, label: str) -> tuple[np.ndarray, bool]:
        own, shape = self._shapes[key.name], x.shape
        axes = len(shape) - len(own)
        if axes in (0, 1) and 0 not in shape:
            if shape[axes:] == own:
                return x, axes == 1
            if key.name in self._bytes and (shape[-1], *shape[axes:-1]) == own:
                return np.moveaxis(x, -1, -3), axes == 1
        raise _wrong_shape(label, x.shape, key, [_shape(0, own), _shape(1, own)])

    def _rule(self, key: Key, raw: bool = False) -> Rule:
        if key.name in self.codec.normalized and (raw or key.kind != "image"):
            return FLOAT32
        return self._rules[key.name]


def _rule(key: Key) -> Rule:
    space, words = key.space, f"members of {key.space}"
    if isinstance(space, spaces.Discrete):
        return Rule(int(space.start), int(space.start) + int(space.n) - 1, words)
    if isinstance(space, spaces.MultiDiscrete):
        first = np.asarray(space.start, np.int64)
        return Rule(first, first + np.asarray(space.nvec, np.int64) - 1, words)
    if isinstance(space, spaces.MultiBinary):
        return Rule(0, 1, words)
    assert isinstance(space, spaces.Box)
    low, high = space.low.min().item(), space.high.max().item()
    if space.dtype == bool:
        return Rule(0, 1, words, every=np.dtype(bool))
    if np.issubdtype(space.dtype, np.integer):
        info = np.iinfo(space.dtype)
        if key.kind != "image":
            low, high = info.min, info.max
        every = space.dtype if (low, high) == (info.min, info.max) else None
        return Rule(low, high, f"whole numbers from {low} to {high}, as in {space}", every=every)
    dtype = min(space.dtype, np.dtype(np.float32), key=lambda kind: kind.itemsize)
    if key.kind == "image":
        slack = _SLACK * (high - low)
        return Rule(low - slack, high + slack, f"images between the bounds of {space}", dtype)
    return Rule(-np.inf, np.inf, f"finite numbers of {dtype}, as in {space}", dtype)


def _shape(axes: int, own: tuple[int, ...]) -> str:
    sizes = [*_LEADS[axes], *map(str, own)]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def _wrong_shape(label: str, shape: tuple[int, ...], key: Key, forms: list[str]) -> InputError:
    return InputError(
        f"unexpected {label} shape {shape}", f"expected {' or '.join(forms)} of {key.space}"
    )


def to_rows(value: Any, n: int, name: str, expected: str) -> np.ndarray:
    """
    Turn one number of each of n rows into an array, whatever simulators call that.

    :param value: real numbers, (n,) or (n, 1); a single one where n is 1
    :param n: rows
    :param name: what they are
    :param expected: what should be there, for the message
    :return: (n,)
    :raises InputError: for other shapes, and for what is no real number
    """
    array = to_host(value, name, expected)
    if array.shape not in ((n,), (n, 1)) and (n, array.shape) != (1, ()):
        raise InputError(f"unexpected {name} shape {array.shape}", f"expected {expected}")
    return array.reshape(n)


def to_flags(value: Any, n: int, name: str) -> np.ndarray:
    """
    Turn flags of n rows into bools.

    :param value: bools, or numbers that are 0 or 1, (n,) or (n, 1); a single one where n is 1
    :param n: rows
    :param name: what they are
    :return: a copy, (n,)
    :raises InputError: for other shapes and values
    """
    expected = f"{n} flags, one of each row: bool, or 0 and 1"
    flags = to_rows(value, n, name, expected)
    if flags.dtype != bool and not ((flags == 0) | (flags == 1)).all():
        raise InputError(f"{name} that are no flags", f"{flags.tolist()}; expected {expected}")
    return flags.astype(bool)


def to_rewards(value: Any, n: int) -> np.ndarray:
    """
    Turn rewards of n rows into what the replay stores; too large ones become infinity.

    :param value: real numbers, (n,) or (n, 1); a single one where n is 1
    :param n: rows
    :return: a copy, float32, (n,)
    :raises InputError: for other shapes, and for what is no real number
    """
    rewards = to_rows(value, n, "rewards", f"{n} real numbers, one of each row")
    return cast(rewards, np.dtype(np.float32)).copy()
