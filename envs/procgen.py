"""ProcGen's sixteen games, whose levels are drawn anew in every episode."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium as gym
import gymnasium.envs.registration
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import find_name, requires

_GAMES = (
    *("bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot"),
    *("heist", "jumper", "leaper", "maze", "miner", "ninja", "plunder", "starpilot"),
)
#: Its own requirements are those of 2020 (NumPy 1, gym), which it does not need.
INSTALL = 'pip install "cffi<2" filelock && pip install --no-deps procgen2 gym3'


def make_procgen(
    game: str,
    *,
    size: int = 96,
    distribution_mode: Literal["easy", "hard"] = "hard",
    num_levels: int = 0,
    start_level: int = 0,
    render_mode: Literal["rgb_array"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make a game of ProcGen (Cobbe et al. 2020, https://arxiv.org/abs/1912.01588) as in DreamerV3.

    Hard levels without end, for training and for evaluation alike, 15 actions, and images of the
    game's rendering at 512 x 512 pixels, resized, bilinear with antialiasing, to 96 x 96. With
    ``size=64`` they are what ProcGen draws itself, in a fortieth of the time.

    Every episode ends as *terminated*, also after the game's limit of steps, of which ProcGen says
    nothing. Nor does it show the frame of an end: the last observation is the one before.

    Example:
        >>> from dreamzoo.envs import make_procgen
        >>> env = make_procgen("coinrun", seed=0)
        >>> env.observation_space, env.action_space
        (Box(0, 255, (96, 96, 3), uint8), Discrete(15))

    :param game: bigfish, bossfight, caveflyer, chaser, climber, coinrun, dodgeball, fruitbot,
        heist, jumper, leaper, maze, miner, ninja, plunder or starpilot
    :param size: height and width of the image in pixels
    :param distribution_mode: "hard" as in the papers, or "easy"
    :param num_levels: of which episodes draw theirs; 0: all there are
    :param start_level: the first of them
    :param render_mode: "rgb_array" for images of 512 x 512 pixels from ``render()``
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :raises ValueError: for a game that does not exist
    """
    env = ProcgenEnv(
        find_name("game of ProcGen", game, _GAMES),
        size,
        render_mode,
        distribution_mode=distribution_mode,
        num_levels=num_levels,
        start_level=start_level,
    )
    if seed is not None:
        env.reset(seed=seed)
    return env


class ProcgenEnv(gym.Env):
    """
    One game of ProcGen under gymnasium's interface.

    Example:
        >>> from dreamzoo.envs.procgen import ProcgenEnv
        >>> ProcgenEnv("maze", size=64, num_levels=200).observation_space.shape
        (64, 64, 3)

    :param game: name
    :param size: height and width of the image in pixels
    :param render_mode: None or "rgb_array"
    :param settings: of the package's ``ProcgenGym3Env``
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  as gymnasium's
    _NATIVE = 64  # pixels of the images that need no rendering of their own
    _RESTART = -1  # the action that ends an episode at once

    def __init__(
        self, game: str, size: int = 96, render_mode: str | None = None, **settings: Any
    ) -> None:
        with requires(INSTALL), _old_names():
            from procgen import ProcgenGym3Env

        self.size, self.render_mode = size, render_mode
        self._renders = render_mode is not None or size != self._NATIVE
        mode = "rgb_array" if self._renders else None
        fixed = {"num": 1, "env_name": game, "num_threads": 0, "render_mode": mode}
        self._make = lambda seed: ProcgenGym3Env(**fixed, **settings, rand_seed=seed)
        self._game: Any = None
        self._untouched = False  # whether the episode that is shown has yet to begin
        self._seen = np.zeros((size, size, 3), np.uint8)
        self._frame = np.zeros((0, 0, 3), np.uint8)  # the same moment, to be looked at
        self.observation_space = spaces.Box(0, 255, self._seen.shape, np.uint8)
        self.action_space = spaces.Discrete(15)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if self._game is None or seed is not None:
            self.close()
            self._game = self._make(int(self.np_random.integers(2**31 - 1)))
        elif not self._untouched:
            self._game.act(np.array([self._RESTART]))
        self._untouched = False
        self._seen = self._image(self._game.observe()[1]["rgb"][0])
        return self._seen, self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._game.act(np.array([action]))
        rewards, obs, is_first = self._game.observe()
        self._untouched = bool(is_first[0])  # ProcGen has begun another already
        if not self._untouched:
            self._seen = self._image(obs["rgb"][0])
        return self._seen, float(rewards[0]), self._untouched, False, self._info()

    def render(self) -> np.ndarray | None:
        return None if self.render_mode is None else self._frame.copy()

    def close(self) -> None:
        if self._game is not None:
            self._game.close()
            self._game = None

    def _image(self, native: np.ndarray) -> np.ndarray:
        if self._renders:
            self._frame = self._game.get_info()[0]["rgb"].copy()
        if self.size == self._NATIVE:
            return native.copy()
        with requires(INSTALL):
            from PIL import Image

        frame = Image.fromarray(self._frame)
        return np.array(frame.resize((self.size, self.size), Image.Resampling.BILINEAR))

    def _info(self) -> dict[str, Any]:
        found = self._game.get_info()[0]
        return {name: int(value) for name, value in found.items() if name != "rgb"}


@contextmanager
def _old_names() -> Iterator[None]:
    """Let gymnasium stand for gym, in which ProcGen registers its games when it is imported."""
    known = {
        "gym": gymnasium,
        "gym.envs": gymnasium.envs,
        "gym.envs.registration": gymnasium.envs.registration,
    }
    missing = {} if "gym" in sys.modules else known
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
