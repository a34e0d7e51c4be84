"""POPGym's tasks: partially observed, most of them for a memory."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import find_name, requires_extra


def make_popgym(name: str, *, seed: int | None = None, **kwargs: Any) -> gym.Env:
    """
    Make a task of POPGym (Morad et al. 2023, https://arxiv.org/abs/2303.01859).

    Observations are the package's own, but that a tuple of choices (Autoencode) becomes one
    ``MultiDiscrete``, which ``"MlpPolicy"`` reads as one-hot vectors, as it does ``Discrete``.
    Its baselines also see the previous action, which ``VecPreviousActionReward`` adds.

    Example:
        >>> from dreamzoo.envs import make_popgym
        >>> make_popgym("RepeatFirstEasy").observation_space
        Discrete(4)
        >>> make_popgym("AutoencodeEasy").observation_space
        MultiDiscrete([2 4])

    :param name: such as ``RepeatPreviousHard``, or the whole id, ``popgym-RepeatPreviousHard-v0``
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :param kwargs: of ``gymnasium.make``
    :raises ValueError: for a task that does not exist
    """
    with requires_extra("memory"):
        import popgym  # noqa: F401  registers its tasks

    names = [i[7:-3] for i in gym.registry if i.startswith("popgym-")]
    bare = name.removeprefix("popgym-").removesuffix("-v0")
    found = find_name("task of POPGym", bare, names)
    env = _AsGymnasium(gym.make(f"popgym-{found}-v0", disable_env_checker=True, **kwargs))
    if seed is not None:
        env.reset(seed=seed)
    return env


class _AsGymnasium(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Let agents of SB3 read what the tasks give.

    Tuples become arrays. Some tasks of POPGym 1.0.7 give the same dictionary as info in every step,
    to which SB3's ``Monitor`` writes: without copies an episode would end in all steps that follow.
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if isinstance(space, spaces.Tuple):
            parts: Any = space.spaces
            self.observation_space = spaces.MultiDiscrete([part.n for part in parts])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._observe(obs), deepcopy(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        ends = bool(terminated), bool(truncated)
        return self._observe(obs), float(reward), *ends, deepcopy(info)

    @staticmethod
    def _observe(obs: Any) -> Any:
        return np.array(obs, np.int64) if isinstance(obs, tuple) else obs
