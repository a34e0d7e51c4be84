"""Actions in forms that agents like: between -1 and 1, or one-hot; batched."""

from functools import partial

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import TransformAction

from dreamzoo.wrappers.transform_action import ActionScale, choose, one_hot_space


class NormalizeAction(TransformAction, gym.utils.RecordConstructorArgs):
    """
    Rescale actions to [-1, 1].

    The vector version of :class:`dreamzoo.wrappers.NormalizeAction`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import NormalizeAction
        >>> envs = NormalizeAction(gym.make_vec("Pendulum-v1", num_envs=2))
        >>> envs.single_action_space
        Box(-1.0, 1.0, (1,), float32)

    :param env: vector environment to wrap
    :raises TypeError: for an action space that is not a Box of floats
    """

    def __init__(self, env: VectorEnv) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        VectorWrapper.__init__(self, env)
        single = ActionScale(env.single_action_space).normalized_space
        scale = ActionScale(env.action_space)
        TransformAction.__init__(self, env, scale, scale.normalized_space, single)


class OneHotAction(TransformAction, gym.utils.RecordConstructorArgs):
    """
    Take discrete actions as vectors; the greatest element is the choice.

    The vector version of :class:`dreamzoo.wrappers.OneHotAction`.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> from dreamzoo.wrappers.vector import OneHotAction
        >>> envs = OneHotAction(gym.make_vec("CartPole-v1", num_envs=2))
        >>> envs.action_space
        Box(0.0, 1.0, (2, 2), float32)
        >>> _ = envs.reset(seed=0)
        >>> obs, *_ = envs.step(np.eye(2, dtype=np.float32))

    :param env: vector environment to wrap
    :raises TypeError: for an action space that is neither Discrete nor one-dimensional
        MultiDiscrete
    """

    def __init__(self, env: VectorEnv) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        VectorWrapper.__init__(self, env)
        func = partial(choose, space=env.single_action_space, lead=(env.num_envs,))
        TransformAction.__init__(
            self, env, func, single_action_space=one_hot_space(env.single_action_space)
        )
