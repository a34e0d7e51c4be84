"""Actions in forms that agents like: between -1 and 1, or one-hot."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TransformAction

from dreamzoo.wrappers.arrays import Array, as_array, cast, namespace, one_hot


class NormalizeAction(TransformAction, gym.utils.RecordConstructorArgs):
    """
    Rescale actions to [-1, 1].

    Dimensions without two finite bounds pass unchanged, unlike in gymnasium's ``RescaleAction``,
    which refuses them. Actions beyond the bounds are clipped to them.

    A vector version exists, :class:`dreamzoo.wrappers.vector.NormalizeAction`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import NormalizeAction
        >>> env = gym.make("Pendulum-v1")
        >>> env.action_space
        Box(-2.0, 2.0, (1,), float32)
        >>> NormalizeAction(env).action_space
        Box(-1.0, 1.0, (1,), float32)

    :param env: environment to wrap
    :raises TypeError: for an action space that is not a Box of floats
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        scale = ActionScale(env.action_space)
        TransformAction.__init__(self, env, scale, scale.normalized_space)


class OneHotAction(TransformAction, gym.utils.RecordConstructorArgs):
    """
    Take discrete actions as vectors; the greatest element is the choice.

    The vectors of a MultiDiscrete's choices are joined to one.

    A vector version exists, :class:`dreamzoo.wrappers.vector.OneHotAction`.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> from dreamzoo.wrappers import OneHotAction
        >>> env = OneHotAction(gym.make("CartPole-v1"))
        >>> env.action_space
        Box(0.0, 1.0, (2,), float32)
        >>> _ = env.reset(seed=0)
        >>> obs, *_ = env.step(np.array([0.0, 1.0], dtype=np.float32))

    :param env: environment to wrap
    :raises TypeError: for an action space that is neither Discrete nor one-dimensional
        MultiDiscrete
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        space = one_hot_space(env.action_space)
        TransformAction.__init__(self, env, partial(choose, space=env.action_space, lead=()), space)


class ActionScale:
    """
    Map actions from [-1, 1] to the bounds of a Box.

    :param space: of the environment's actions, batched or not
    :raises TypeError: for anything but a Box of floats
    """

    def __init__(self, space: spaces.Space) -> None:
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise TypeError(
                f"NormalizeAction rescales a Box of floats and was given {space}. "
                "For discrete actions use OneHotAction."
            )
        self.space = space
        finite = np.isfinite(space.low) & np.isfinite(space.high)
        low = np.where(finite, space.low, -1).astype(np.float64)
        high = np.where(finite, space.high, 1).astype(np.float64)
        self._constants: tuple[np.ndarray, ...] = (
            (high / 2 + low / 2).astype(space.dtype),  # in halves, which do not overflow
            (high / 2 - low / 2).astype(space.dtype),
            space.low,
            space.high,
        )
        # To copy from the host at every step would wait for the device.
        self._on_device: dict[th.device, tuple[th.Tensor, ...]] = {}
        self.normalized_space = spaces.Box(
            np.where(finite, -1, space.low).astype(space.dtype),
            np.where(finite, 1, space.high).astype(space.dtype),
            dtype=space.dtype.type,
        )

    def __call__(self, action: Any) -> Array:
        """Give the environment's action for a normalized one."""
        action = as_array(action)
        check_shape(action, self.space.shape, "NormalizeAction")
        center, scale, low, high = self._constants_for(action)
        # At the bounds rounding could lead out of them.
        return namespace(action).clip(center + scale * cast(action, self.space.dtype), low, high)

    def _constants_for(self, action: Array) -> tuple[Array, ...]:
        if not isinstance(action, th.Tensor):
            return self._constants
        if action.device not in self._on_device:
            self._on_device[action.device] = tuple(
                th.tensor(x, device=action.device) for x in self._constants
            )
        return self._on_device[action.device]


def sizes_and_starts(space: spaces.Space) -> list[tuple[int, int]] | None:
    """
    List the number of options and the first option of every choice.

    :param space: of actions
    :return: None for a space that is neither Discrete nor one-dimensional MultiDiscrete
    """
    if isinstance(space, spaces.Discrete):
        return [(int(space.n), int(space.start))]
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return list(zip(space.nvec.tolist(), space.start.tolist(), strict=True))
    return None


def one_hot_space(space: spaces.Space) -> spaces.Box:
    """
    Return the space of joined one-hot vectors.

    :param space: of single actions
    :raises TypeError: for a space that is neither Discrete nor one-dimensional MultiDiscrete
    """
    choices = sizes_and_starts(space)
    if choices is None:
        raise TypeError(
            "OneHotAction takes a Discrete or a one-dimensional MultiDiscrete action space and "
            f"was given {space}. For continuous actions use NormalizeAction."
        )
    return spaces.Box(0, 1, (sum(n for n, _ in choices),), np.float32)


def to_one_hot(action: Array, space: spaces.Space) -> Array:
    """
    Encode discrete actions.

    :param action: of the space, with any batch axes
    :param space: of single actions, Discrete or MultiDiscrete
    :return: joined one-hot vectors, (..., sum of options)
    """
    choices = sizes_and_starts(space)
    assert choices is not None, space
    if isinstance(space, spaces.Discrete):
        return one_hot(action, *choices[0])
    parts = [one_hot(action[..., i], n, start) for i, (n, start) in enumerate(choices)]
    return namespace(action).concatenate(parts, -1)


def choose(action: Any, space: spaces.Space, lead: tuple[int, ...]) -> Array:
    """
    Read vectors as choices: the greatest element, the first among equals.

    Tensors are not searched for NaN, which would wait for their device.

    :param action: (*lead, sum of options)
    :param space: of single actions, Discrete or MultiDiscrete
    :param lead: batch axes
    :return: actions of the space
    :raises ValueError: for another shape, and for numpy arrays with NaN
    """
    choices = sizes_and_starts(space)
    assert choices is not None, space
    action = as_array(action)
    check_shape(action, (*lead, sum(n for n, _ in choices)), "OneHotAction")
    if not isinstance(action, th.Tensor) and np.isnan(action).any():
        raise ValueError(f"OneHotAction was given {action}. NaN cannot be compared; check it.")
    picks, offset = [], 0
    for n, start in choices:
        picks.append(action[..., offset : offset + n].argmax(-1) + start)
        offset += n
    if isinstance(space, spaces.Discrete):
        # A numpy scalar, as the space itself samples.
        pick = cast(picks[0], space.dtype)
        return pick if isinstance(pick, th.Tensor) else pick[()]
    return cast(namespace(action).stack(picks, -1), space.dtype)


def check_shape(action: Array, shape: tuple[int, ...], wrapper: str) -> None:
    """
    Refuse actions of another shape than the action space's.

    :param action: what was given
    :param shape: what is expected
    :param wrapper: name for the message
    :raises ValueError: if they differ
    """
    if tuple(action.shape) != tuple(shape):
        raise ValueError(
            f"{wrapper} was given an action of shape {tuple(action.shape)}, expected {shape}. "
            "Give it actions of its action_space."
        )
