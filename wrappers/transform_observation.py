"""Observations of smaller magnitude."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation

from dreamzoo.wrappers.arrays import Array, Tree, as_array, cast, symlog


class SymlogObservation(TransformObservation, gym.utils.RecordConstructorArgs):
    """
    Compress observations with sign(x) log(1 + abs(x)), float32.

    In a Dict or Tuple every Box is compressed. Images (uint8) are left as they are unless asked
    for, and so is everything that is not a Box.

    A vector version exists, :class:`dreamzoo.wrappers.vector.SymlogObservation`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import SymlogObservation
        >>> env = SymlogObservation(gym.make("Pendulum-v1"))
        >>> env.observation_space.high
        array([0.69314724, 0.69314724, 2.1972249 ], dtype=float32)

    :param env: environment to wrap
    :param include_images: compress uint8 too
    :raises ValueError: for an observation in which nothing would be compressed
    """

    def __init__(self, env: gym.Env, include_images: bool = False) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, include_images=include_images)
        space = env.observation_space
        TransformObservation.__init__(
            self,
            env,
            partial(symlog_observation, space=space, include_images=include_images),
            symlog_space(space, include_images),
        )


def symlog_space(space: spaces.Space, include_images: bool) -> spaces.Space:
    """
    Return the space of compressed observations.

    :param space: of observations, batched or not
    :param include_images: compress uint8 too
    :raises ValueError: for a space in which nothing would be compressed
    """
    if not _has_numbers(space, include_images):
        raise ValueError(
            f"SymlogObservation found nothing to compress in {space}. Expected a Box, or a Dict "
            "or Tuple with one, that is not uint8. Pass include_images=True for images."
        )
    return _transform_space(space, include_images)


def symlog_observation(observation: Tree, space: spaces.Space, include_images: bool) -> Tree:
    """
    Compress an observation.

    :param observation: a single one or a batch
    :param space: of a single one or of the batch
    :param include_images: compress uint8 too
    """
    if isinstance(space, spaces.Dict):
        return {
            key: symlog_observation(observation[key], space[key], include_images) for key in space
        }
    if isinstance(space, spaces.Tuple):
        parts = zip(observation, space, strict=True)
        return tuple(symlog_observation(part, sub, include_images) for part, sub in parts)
    return _symlog_float32(observation) if _is_number(space, include_images) else observation


def _transform_space(space: spaces.Space, include_images: bool) -> spaces.Space:
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _transform_space(space[key], include_images) for key in space})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_transform_space(sub, include_images) for sub in space])
    if not _is_number(space, include_images):
        return space
    assert isinstance(space, spaces.Box)
    return spaces.Box(_bound(space.low, -np.inf), _bound(space.high, np.inf), dtype=np.float32)


def _bound(x: np.ndarray, outwards: float) -> np.ndarray:
    # Libraries round logarithms differently, by one unit in the last place.
    bound = _symlog_float32(x)
    return np.where(bound == 0, bound, np.nextafter(bound, np.float32(outwards)))


def _symlog_float32(x: Any) -> Array:
    x = as_array(x)
    # Half precision is too coarse, and numpy takes logarithms of small integers in it.
    wide = x.dtype.itemsize == 8 and "float" in str(x.dtype)
    return cast(symlog(x if wide else cast(x, np.float32)), np.float32)


def _has_numbers(space: spaces.Space, include_images: bool) -> bool:
    if isinstance(space, spaces.Dict):
        return any(_has_numbers(sub, include_images) for sub in space.values())
    if isinstance(space, spaces.Tuple):
        return any(_has_numbers(sub, include_images) for sub in space)
    return _is_number(space, include_images)


def _is_number(space: spaces.Space, include_images: bool) -> bool:
    return isinstance(space, spaces.Box) and (include_images or space.dtype != np.uint8)
