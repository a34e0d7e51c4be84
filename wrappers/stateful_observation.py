"""Observations that tell what the agent did before."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.wrappers.arrays import Array, Tree, as_array, cast, copy, first_array, namespace
from dreamzoo.wrappers.transform_action import sizes_and_starts, to_one_hot


class PreviousActionReward(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Add the previous action and reward to the observation, zero where an episode starts.

    The observation becomes a Dict with ``obs``, ``previous_action`` and ``previous_reward``; a
    Dict keeps its keys and gets the two. Discrete actions are one-hot.

    Vector versions exist, :class:`dreamzoo.wrappers.vector.PreviousActionReward` and, for
    Stable-Baselines3, :class:`dreamzoo.wrappers.VecPreviousActionReward`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import PreviousActionReward
        >>> env = PreviousActionReward(gym.make("CartPole-v1"))
        >>> obs, _ = env.reset(seed=0)
        >>> obs["previous_action"], obs["previous_reward"]
        (array([0., 0.], dtype=float32), array([0.], dtype=float32))
        >>> obs, *_ = env.step(1)
        >>> obs["previous_action"], obs["previous_reward"]
        (array([0., 1.], dtype=float32), array([1.], dtype=float32))

    :param env: environment to wrap
    :raises TypeError: for Dict, Tuple and other composed actions
    :raises ValueError: for an observation that has one of the two keys already
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._memory = memory_space(env.action_space)
        self.observation_space = extend_space(env.observation_space, self._memory)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return extend(obs, zero_memory(self._memory, (), first_array(obs))), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        memory = make_memory(action, reward, self.env.action_space, first_array(obs))
        return extend(obs, memory), reward, terminated, truncated, info


class Memory(NamedTuple):
    """What is added to an observation, or the spaces of it."""

    previous_action: Any
    previous_reward: Any


def memory_space(action_space: spaces.Space) -> Memory:
    """
    Return the spaces of what is remembered.

    :param action_space: of single actions
    :raises TypeError: for composed actions
    """
    choices = sizes_and_starts(action_space)
    if choices is not None:
        action = spaces.Box(0, 1, (sum(n for n, _ in choices),), np.float32)
    elif isinstance(action_space, spaces.MultiBinary):
        action = spaces.Box(0, 1, action_space.shape, np.float32)
    elif isinstance(action_space, spaces.Box):
        # Zero, for the start of episodes, must be inside.
        low, high = np.minimum(action_space.low, 0), np.maximum(action_space.high, 0)
        action = spaces.Box(low, high, dtype=action_space.dtype.type)
    else:
        raise TypeError(
            "PreviousActionReward takes a Box, Discrete, MultiBinary or one-dimensional "
            f"MultiDiscrete action space and was given {action_space}. Flatten the actions first."
        )
    return Memory(action, spaces.Box(-np.inf, np.inf, (1,), np.float32))


def zero_memory(memory: Memory, lead: tuple[int, ...], like: Array) -> Memory:
    """
    Make the memory of an episode's start.

    :param memory: spaces
    :param lead: batch axes
    :param like: a tensor, to make tensors on its device; anything else makes numpy arrays
    """
    xp = namespace(like)
    device = {} if xp is np else {"device": like.device}
    return Memory(*(cast(xp.zeros((*lead, *part.shape), **device), part.dtype) for part in memory))


def make_memory(action: Any, reward: Any, action_space: spaces.Space, like: Array) -> Memory:
    """
    Make the memory of a step.

    :param action: a single one or a batch
    :param reward: of the same batch axes
    :param action_space: of single actions
    :param like: a tensor, to make tensors on its device; anything else makes numpy arrays
    """
    action = as_array(action, like)
    if sizes_and_starts(action_space) is not None:
        action = to_one_hot(action, action_space)
    elif isinstance(action_space, spaces.MultiBinary):
        action = cast(action, np.float32)
    else:
        action = cast(action, action_space.dtype)
    # Agents may write the next action into the array that they gave for this one, and into rewards.
    reward = cast(as_array(reward, like), np.float32)
    return Memory(copy(action), copy(reward)[..., None])


def extend_space(space: spaces.Space, parts: NamedTuple) -> spaces.Dict:
    """
    Return the space of extended observations.

    :param space: of observations
    :param parts: named spaces to add
    :raises ValueError: for a name that the observation has already
    """
    names = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    for name in parts._fields:
        if name in names:
            raise ValueError(
                f"The observation has a key {name!r} already: {space}. "
                "Is it wrapped twice? If not, rename the key."
            )
    return spaces.Dict({**names, **parts._asdict()})


def extend(obs: Tree, parts: NamedTuple) -> dict[str, Any]:
    """
    Add arrays to an observation.

    :param obs: any observation; one that is not a Dict becomes the key ``obs``
    :param parts: named arrays to add
    """
    names = obs if isinstance(obs, Mapping) else {"obs": obs}
    return {**names, **parts._asdict()}
