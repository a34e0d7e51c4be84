"""Rewards of smaller magnitude."""

import gymnasium as gym
from gymnasium.wrappers import TransformReward

from dreamzoo.wrappers.arrays import symlog, tanh


class SymlogReward(TransformReward, gym.utils.RecordConstructorArgs):
    """
    Compress rewards with sign(r) log(1 + abs(r)).

    A vector version exists, :class:`dreamzoo.wrappers.vector.SymlogReward`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import SymlogReward
        >>> env = SymlogReward(gym.make("CartPole-v1"))
        >>> _ = env.reset(seed=0)
        >>> float(env.step(0)[1])
        0.6931471805599453

    :param env: environment to wrap
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        TransformReward.__init__(self, env, symlog)


class TanhReward(TransformReward, gym.utils.RecordConstructorArgs):
    """
    Squash rewards to (-1, 1) with tanh, as Dreamer and DreamerV2 do on Atari.

    A vector version exists, :class:`dreamzoo.wrappers.vector.TanhReward`.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import TanhReward
        >>> env = TanhReward(gym.make("CartPole-v1"))
        >>> _ = env.reset(seed=0)
        >>> round(float(env.step(0)[1]), 4)
        0.7616

    :param env: environment to wrap
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        TransformReward.__init__(self, env, tanh)
