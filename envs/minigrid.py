"""MiniGrid's worlds, seen as boards of kinds, colors and states."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import find_name, requires_extra


def make_minigrid(
    name: str, *, movement_only: bool = False, seed: int | None = None, **kwargs: Any
) -> gym.Env:
    """
    Make a world of MiniGrid (Chevalier-Boisvert et al. 2023, https://arxiv.org/abs/2306.13831).

    The observation is what the agent sees before it, bool of shape (7, 7, 20): every cell's kind
    (11), color (6) and state (3), one-hot, where the package has three numbers. Agents read it as
    an image (``"CnnPolicy"``) or as numbers (``"MlpPolicy"``). The direction and the mission, a
    sentence, are left out: worlds whose mission changes from episode to episode are refused.

    ``MemoryS7`` to ``MemoryS17Random`` ask for a memory: an object in the first room says which
    way to go at the end of a corridor.

    Example:
        >>> from dreamzoo.envs import make_minigrid
        >>> env = make_minigrid("MemoryS7", movement_only=True)
        >>> env.observation_space.shape, env.action_space
        ((7, 7, 20), Discrete(3))

    :param name: such as ``MemoryS7``, or the whole id, ``MiniGrid-MemoryS7-v0``
    :param movement_only: turn left, turn right, go forward, and none of the other four actions
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :param kwargs: of ``gymnasium.make``: ``max_steps``, ``agent_view_size``, ``render_mode``
    :raises ValueError: for a world that does not exist, or with a mission that changes
    """
    with requires_extra("memory"):
        import minigrid  # noqa: F401  registers its worlds

    newest = {i[9:-3]: i for i in sorted(gym.registry) if i.startswith("MiniGrid-")}
    bare = name.removeprefix("MiniGrid-")
    bare = bare[:-3] if bare[-3:-1] == "-v" else bare
    env_id = newest[find_name("world of MiniGrid", bare, newest)]
    env = gym.make(env_id, disable_env_checker=True, **kwargs)
    if _mission_changes(env):
        env.close()
        raise ValueError(
            f"The mission of {env_id} changes from episode to episode, and no agent here reads it. "
            "Choose a world with one goal, such as MemoryS7."
        )
    env = _OneHotCells(env)
    if movement_only:
        env.action_space = spaces.Discrete(3)
    if seed is not None:
        env.reset(seed=seed)
    return env


def _mission_changes(env: gym.Env) -> bool:
    space: Any = env.observation_space
    return space["mission"].ordered_placeholders is not None


class _OneHotCells(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """
    Show every cell's kind, color and state as one-hot vectors.

    :param env: with the package's dictionary of image, direction and mission
    """

    def __init__(self, env: gym.Env) -> None:
        from minigrid.core import constants

        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        tables = (constants.OBJECT_TO_IDX, constants.COLOR_TO_IDX, constants.STATE_TO_IDX)
        self._one_hot = [np.eye(len(table), dtype=bool) for table in tables]
        inner: Any = env.observation_space
        shape = (*inner["image"].shape[:2], sum(map(len, tables)))
        self.observation_space = spaces.Box(0, 1, shape, bool)

    def observation(self, observation: Any) -> np.ndarray:
        numbers = np.moveaxis(observation["image"], -1, 0)  # kind, color, state
        parts = [table[x] for table, x in zip(self._one_hot, numbers, strict=True)]
        return np.concatenate(parts, axis=-1)
