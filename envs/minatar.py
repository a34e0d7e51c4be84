"""MinAtar: five Atari games on a board of 10x10 cells, for experiments that take minutes."""

from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.utils.seeding import np_random

from dreamzoo.envs.errors import find_name, requires_extra

_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


def make_minatar(
    game: str,
    *,
    all_actions: bool = False,
    sticky_action_prob: float = 0.1,
    difficulty_ramping: bool = True,
    max_episode_steps: int | None = None,
    render_mode: Literal["rgb_array", "human"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make a game of MinAtar (Young and Tian 2019, https://arxiv.org/abs/1903.03176).

    The observation is the board, bool of shape (10, 10, n): one channel for each kind of object.
    Agents read it as an image (``"CnnPolicy"``) or as numbers (``"MlpPolicy"``).

    Example:
        >>> from dreamzoo.envs import make_minatar
        >>> env = make_minatar("breakout")
        >>> env.observation_space, env.action_space
        (Box(False, True, (10, 10, 4), bool), Discrete(3))
        >>> make_minatar("SpaceInvaders", all_actions=True).action_space
        Discrete(6)

    :param game: asterix, breakout, freeway, seaquest or space_invaders, in any usual spelling
    :param all_actions: the six actions that the games share (the package's ids that end in ``-v0``)
        rather than only those that have an effect (``-v1``)
    :param sticky_action_prob: probability that the game repeats the action before
    :param difficulty_ramping: the game becomes faster as it goes on; no effect in breakout and
        freeway
    :param max_episode_steps: steps after which an episode is truncated; None: no limit; set one
        where a good player of breakout would never end. Freeway ends by itself after 2501 steps
    :param render_mode: "rgb_array" for images (160, 160, 3) from ``render()``, "human" for a window
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :raises ValueError: for a game that does not exist
    """
    with requires_extra("minatar"):
        import minatar.gym

    bare = game.removeprefix("MinAtar/").removesuffix("-v0").removesuffix("-v1")
    found = find_name("MinAtar game", bare, _GAMES)
    env_id = f"MinAtar/{found.title().replace('_', '')}-v1"
    if env_id not in gym.registry:
        minatar.gym.register_envs()
    env = gym.make(
        env_id,
        use_minimal_action_set=not all_actions,
        sticky_action_prob=sticky_action_prob,
        difficulty_ramping=difficulty_ramping,
        max_episode_steps=max_episode_steps,
        render_mode=render_mode,
        disable_env_checker=True,
    )
    env = _AsGymnasium(env)
    if seed is not None:
        env.reset(seed=seed)
    return env


class _AsGymnasium(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Keep what gymnasium's interface promises and MinAtar 1.0.15 does not.

    A seed decides the whole episode: MinAtar carries the last action over into the next one, which
    may repeat it. Rewards are floats, frames are bytes.
    """

    _CELL = 16  # pixels

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 15}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        raw: Any = self.unwrapped
        if seed is not None:
            raw._np_random, raw._np_random_seed = np_random(seed)
        raw.game.last_action = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, float(reward), bool(terminated), truncated, info

    def render(self) -> Any:
        frame = self.env.render()
        if frame is None:
            return None
        shades = np.round(255 * np.asarray(frame)).astype(np.uint8)
        return shades.repeat(self._CELL, axis=0).repeat(self._CELL, axis=1)
