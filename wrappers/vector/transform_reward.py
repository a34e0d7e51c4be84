"""Rewards of smaller magnitude, batched."""

import gymnasium as gym
from gymnasium.vector import VectorEnv
from gymnasium.wrappers.vector import TransformReward

from dreamzoo.wrappers.arrays import symlog, tanh


class SymlogReward(TransformReward, gym.utils.RecordConstructorArgs):
    """
    Compress rewards with sign(r) log(1 + abs(r)).

    The vector version of :class:`dreamzoo.wrappers.SymlogReward`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import SymlogReward
        >>> envs = SymlogReward(gym.make_vec("CartPole-v1", num_envs=2))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(envs.action_space.sample())[1]
        array([0.6931472, 0.6931472], dtype=float32)

    :param env: vector environment to wrap
    """

    def __init__(self, env: VectorEnv) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        TransformReward.__init__(self, env, symlog)


class TanhReward(TransformReward, gym.utils.RecordConstructorArgs):
    """
    Squash rewards to (-1, 1) with tanh, as Dreamer and DreamerV2 do on Atari.

    The vector version of :class:`dreamzoo.wrappers.TanhReward`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers.vector import TanhReward
        >>> envs = TanhReward(gym.make_vec("CartPole-v1", num_envs=2))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(envs.action_space.sample())[1]
        array([0.7615942, 0.7615942], dtype=float32)

    :param env: vector environment to wrap
    """

    def __init__(self, env: VectorEnv) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        TransformReward.__init__(self, env, tanh)
