"""Between an action space and the numbers that agents, replay and dynamics work with."""

from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.nn.checks import to_host
from dreamzoo.nn.fast.constants import constant
from dreamzoo.nn.observations import multi_one_hot

#: A numpy array or a torch tensor.
Array: TypeAlias = Any

INT64 = np.iinfo(np.int64)
#: Whole numbers up to here are exact in float64.
EXACT = 2.0**53


class _Bounds(NamedTuple):
    """
    Bounds of a flat Box, all in float64, or all but the width in int64.

    :param low: (A,)
    :param middle: what lies above it is nearer to the upper bound, (A,)
    :param high: (A,)
    :param width: float64, (A,)
    """

    low: Array
    middle: Array
    high: Array
    width: Array


class ActionCodec:
    """
    Between actions of the environment, of the replay, and the vectors that the dynamics read.

    In replay form, Box actions are floats in units where the bounds are -1 and 1, whatever their
    dtype. Discrete, MultiDiscrete and MultiBinary actions are integers from 0, which the dynamics
    read one-hot.

    Arrays and tensors on any device give the same numbers: distances between integers are taken
    in integers, everything else in float64. Values are checked where they are on the host, where
    to look at them waits for nothing.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.nn.actions import ActionCodec
        >>> from gymnasium import spaces
        >>> codec = ActionCodec(spaces.Box(0.0, 10.0, (2,)))
        >>> codec.from_env(np.array([0.0, 7.5])).tolist()
        [-1.0, 0.5]
        >>> codec.to_env(np.array([-1.0, 0.5])).tolist()
        [0.0, 7.5]

    :param space: action space
    :raises AssertionError: for discrete actions with several axes, as Stable-Baselines3 does
    :raises ValueError: for any other space, a space without actions, and bounds too far apart
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space, self.shape = space, tuple(space.shape or ())
        self.sizes: list[int] = []
        self._start = np.zeros(1, np.int64)
        if isinstance(space, spaces.Box):
            self._set_bounds(space)
        elif isinstance(space, spaces.Discrete):
            self.sizes, self._start = [int(space.n)], np.array([space.start], np.int64)
        elif isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
            assert len(self.shape) == 1, (
                f"Multi-dimensional {type(space).__name__} action space of the shape {self.shape} "
                "is not supported. You can flatten it instead."
            )
            if isinstance(space, spaces.MultiDiscrete):
                self.sizes, self._start = space.nvec.tolist(), space.start.astype(np.int64)
            else:
                self.sizes = [2] * self.shape[0]
        else:
            raise ValueError(
                f"Unsupported action space {space}. Supported: Box, Discrete, MultiDiscrete, "
                "MultiBinary."
            )
        self._end = self._start + np.array(self.sizes, np.int64)
        #: Numbers of an action in replay form.
        self.replay_dim = len(self.sizes) if self.is_discrete else int(np.prod(self.shape))
        #: Numbers that the dynamics read.
        self.dim = sum(self.sizes) if self.is_discrete else self.replay_dim
        if not self.replay_dim:
            raise ValueError(f"{space} has no action. Give the environment something to decide.")

    def _set_bounds(self, space: spaces.Box) -> None:
        low, high = (bound.reshape(-1).astype(object) for bound in (space.low, space.high))
        with np.errstate(over="ignore"):
            width = (high - low).astype(np.float64)  # of Python's numbers: integers of any size
        if not (width <= np.finfo(np.float32).max).all():
            raise ValueError(
                f"The bounds of {space} are too far apart to scale actions of [-1, 1] to them. "
                "Give the action space the bounds that the environment really has."
            )
        middle = low.astype(np.float64) / 2 + high.astype(np.float64) / 2
        self._is_unit = space.dtype.kind == "f" and bool((low == -1).all() and (high == 1).all())
        self._floats = _Bounds(low.astype(np.float64), middle, high.astype(np.float64), width)
        self._integers: _Bounds | None = None
        self._shift = 2**63 if space.dtype == np.uint64 else 0  # makes int64 of uint64
        if space.dtype.kind in "biu":
            numbers = np.stack([low, low + (high - low) // 2, high]) - self._shift
            low, middle, high = numbers.astype(np.int64)
            width = np.where(width > EXACT, np.nextafter(width, 0), width)  # never rounded up
            self._integers = _Bounds(low, middle, high, width)

    @property
    def is_discrete(self) -> bool:
        return not isinstance(self.space, spaces.Box)

    # ------------------------------------------------------------------ two directions

    def as_array(self, actions: Any, name: str = "actions") -> Array:
        """
        Take actions as they come: tensors stay tensors, everything else becomes an array.

        :param actions: tensor, array, number, or nested lists of these
        :param name: what to call it in an error
        :raises ValueError: for anything else
        """
        return (
            actions
            if isinstance(actions, Tensor)
            else to_host(actions, f"value of {name}", self.space)
        )

    def from_env(self, action: Array, name: str = "actions") -> Array:
        """
        Turn actions of the environment into replay form; those of a Box are clipped.

        Actions are what gymnasium's spaces contain, in any size of number: integers and booleans,
        in a MultiBinary also 0.0 and 1.0 (which Stable-Baselines3 sends), in a Box all that is
        finite.

        :param action: array or tensor, ``(..., *space.shape)``
        :param name: what to call it in an error
        :return: the same kind, (..., replay_dim), float64 for a Box, else int64
        :raises ValueError: for another shape or dtype, and for values outside of the space
        """
        self._check_dtype(action, isinstance(self.space, (spaces.Box, spaces.MultiBinary)), name)
        axes = action.ndim - len(self.shape)
        if axes < 0 or tuple(action.shape[axes:]) != self.shape:
            raise ValueError(
                f"{name} have the shape {tuple(action.shape)}; expected {self.shape} and any axes "
                f"before it: actions of {self.space}."
            )
        flat = action.reshape(*action.shape[:axes], self.replay_dim)
        if not self.is_discrete:
            self._check_finite(flat, name)
            return self._to_unit(flat)
        if isinstance(self.space, spaces.MultiBinary):
            if _on_host(flat):
                self._check(flat, (flat == 0) | (flat == 1), name)
            return _cast(flat != 0, "int64")
        start, end, index = *self._choices(flat), _to_int64(flat)
        if _on_host(flat):
            self._check(flat, (index >= start) & (index < end), name)
        return index - start

    def to_env(self, action: Array, name: str = "actions in replay form") -> Array:
        """
        Turn actions in replay form into what the environment takes.

        Those of a Box are clipped to [-1, 1] and scaled to the bounds, which are met exactly;
        where the space holds integers, the nearest is taken.

        :param action: array or tensor, (..., replay_dim)
        :param name: what to call it in an error
        :return: the same kind, ``(..., *space.shape)``, of the space's dtype
        :raises ValueError: for another shape or dtype, and for values that are no actions
        """
        self._check_dtype(action, not self.is_discrete, name)
        if not action.ndim or action.shape[-1] != self.replay_dim:
            raise ValueError(
                f"{name} have the shape {tuple(action.shape)}; expected (..., {self.replay_dim})."
            )
        if not self.is_discrete:
            self._check_finite(action, name)
            result = self._to_bounds(action)
        else:
            start, end = self._choices(action)
            result = _to_int64(action) + start
            if _on_host(action):
                self._check(action, (result >= start) & (result < end), name)
        result = _cast(result, self.space.dtype.name)  # type: ignore[union-attr]
        return result.reshape(*action.shape[:-1], *self.shape)

    def encode(self, action: Tensor) -> Tensor:
        """
        Turn actions in replay form into what the dynamics read.

        :param action: (..., replay_dim), integers from 0 or floats
        :return: (..., dim), float32
        """
        if not self.is_discrete:
            return action.float()
        return multi_one_hot(action.long(), self.sizes)

    # ------------------------------------------------------------------ Box
    # Both directions measure from the nearer bound. Half a width fits into int64 whatever the
    # bounds are, and both bounds are met exactly.

    def sample(self, n: int, generator: th.Generator | None, device: th.device) -> Tensor:
        """
        Draw uniform actions.

        :param n: rows
        :param generator: source of randomness
        :param device: where
        :return: in replay form, (n, replay_dim), int64 or floats
        """
        draws = th.rand(n, self.replay_dim, generator=generator, device=device)
        if not self.is_discrete:
            return 2.0 * draws - 1.0
        sizes = constant(self._end, device) - constant(self._start, device)
        return th.minimum((draws * sizes).long(), sizes - 1)

    def decode(self, encoded: Tensor) -> Tensor:
        """
        Turn what the dynamics read into replay form: the inverse of :meth:`encode`.

        :param encoded: (..., dim); of one-hot vectors, the largest number counts
        :return: (..., replay_dim), int64 or floats
        """
        if not self.is_discrete:
            return encoded
        parts = encoded.split(self.sizes, dim=-1)
        return th.stack([part.argmax(-1) for part in parts], dim=-1)

    def _to_unit(self, action: Array) -> Array:
        xp = _namespace(action)
        if self._integers is None or _is_float(action):
            bounds, value = self._on_device("floats", action), _cast(action, "float64")
        else:
            bounds = self._on_device("integers", action)
            value = _to_int64(action, shifted=self._shift > 0)
        value = xp.minimum(xp.maximum(value, bounds.low), bounds.high)
        near_low = value <= bounds.middle
        distance = xp.where(near_low, value - bounds.low, bounds.high - value)
        width = xp.where(bounds.width > 0, bounds.width, 1.0)  # a fixed dimension has none
        # Above 1 only where floats are too coarse to tell the bounds apart.
        share = (2.0 * _cast(distance, "float64") / width).clip(None, 1.0)
        return xp.where(near_low, share - 1.0, 1.0 - share)

    def _to_bounds(self, action: Array) -> Array:
        xp = _namespace(action)
        unit = _cast(action, "float64").clip(-1.0, 1.0)
        if self._is_unit:
            return unit
        bounds = self._on_device("floats" if self._integers is None else "integers", action)
        distance = (1.0 - xp.abs(unit)) / 2.0 * bounds.width
        if self._integers is not None:
            distance = _cast(xp.round(distance), "int64")
        value = xp.where(unit < 0, bounds.low + distance, bounds.high - distance)
        return (value ^ INT64.min).view(xp.uint64) if self._shift else value

    # ------------------------------------------------------------------ checks

    def _check_dtype(self, action: Array, floats: bool, name: str) -> None:
        is_tensor = isinstance(action, Tensor)
        integers = not action.is_complex() if is_tensor else action.dtype.kind in "biu"
        fits = floats if _is_float(action) else integers
        if not (fits or 0 in action.shape):  # of no actions, the dtype says nothing
            raise ValueError(
                f"{name} of the dtype {action.dtype} are not all in {self.space}; expected "
                f"{'real numbers' if floats else 'integers'}."
            )

    def _check_finite(self, action: Array, name: str) -> None:
        if _is_float(action) and _on_host(action):
            self._check(action, _namespace(action).isfinite(action), name)

    def _check(self, action: Array, valid: Array, name: str) -> None:
        """Refuse actions (..., replay_dim) that are not all valid, and name the first of these."""
        if valid.all():
            return
        index = tuple(np.argwhere(~np.asarray(valid).all(-1))[0].tolist())
        raise ValueError(
            f"{name} are not all in {self.space}: row {index[0] if len(index) == 1 else index} is "
            f"{action[index].tolist()}."
        )

    # ------------------------------------------------------------------ constants

    def _choices(self, like: Array) -> tuple[Array, Array]:
        """Return the first discrete action and the one after the last, (replay_dim,) each."""
        return self._on_device("start", like), self._on_device("end", like)

    def _on_device(self, name: str, like: Array) -> Any:
        """Keep what is known of the space where it is needed."""
        value = getattr(self, f"_{name}")
        if not isinstance(like, Tensor):
            return value
        if isinstance(value, _Bounds):
            return _Bounds(*(constant(part, like.device) for part in value))
        return constant(value, like.device)


def _namespace(x: Array) -> ModuleType:
    return th if isinstance(x, Tensor) else np


def _on_host(x: Array) -> bool:
    """Return whether a look at values waits for no device."""
    return not isinstance(x, Tensor) or (x.device.type == "cpu" and not th.compiler.is_compiling())


def _is_float(x: Array) -> bool:
    return x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"


def _cast(x: Array, dtype: str) -> Array:
    if isinstance(x, Tensor):
        return x.to(getattr(th, dtype))
    return x.astype(dtype, copy=False)


def _to_int64(x: Array, shifted: bool = False) -> Array:
    """
    Turn integers of any dtype into int64; what does not fit is cut off.

    :param x: integers or booleans
    :param shifted: less 2^63: all of uint64 fits, and nothing below zero
    """
    xp = _namespace(x)
    unsigned = (x.dtype if xp is th else x.dtype.name) in (th.uint64, "uint64")
    # The bits of 2^63 and above make negative numbers.
    x = _cast(x, "uint64").view(xp.int64) if unsigned else _cast(x, "int64")
    if shifted:
        return (x if unsigned else x.clip(0)) ^ INT64.min
    return xp.where(x < 0, INT64.max, x) if unsigned else x
