"""Crafter: an open world in two dimensions that asks for much of what Minecraft does."""

from copy import deepcopy
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import find_name, requires_extra

_TASKS = ("reward", "noreward")


def make_crafter(
    task: str = "reward",
    *,
    size: int = 64,
    render_mode: Literal["rgb_array"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make Crafter (Hafner 2021, https://arxiv.org/abs/2109.06780) as DreamerV3 uses it.

    Images are in color, actions the game's 17, rewards its own: 1 in a step that unlocks one of 22
    achievements, or two, and a tenth for every point of health won or lost. An
    episode ends with death, and is truncated after 10 000 steps. ``info["achievements"]`` counts
    them, :func:`dreamzoo.benchmark.crafter_score` makes the paper's score of it.

    Example:
        >>> from dreamzoo.envs import make_crafter
        >>> env = make_crafter(seed=0)
        >>> env.observation_space, env.action_space
        (Box(0, 255, (64, 64, 3), uint8), Discrete(17))
        >>> _, _ = env.reset()
        >>> len(env.step(0)[-1]["achievements"])
        22

    :param task: "reward" or "noreward", where all rewards are 0 and ``info["reward"]`` tells them
    :param size: height and width of the image in pixels
    :param render_mode: "rgb_array" for images of 576 x 576 pixels from ``render()``
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :raises ValueError: for a task that does not exist
    """
    rewards = find_name("task of Crafter", task, _TASKS) == "reward"
    env = CrafterEnv(rewards, size, render_mode)
    if seed is not None:
        env.reset(seed=seed)
    return env


class CrafterEnv(gym.Env):
    """
    Crafter under gymnasium's interface.

    Example:
        >>> from dreamzoo.envs.crafter import CrafterEnv
        >>> CrafterEnv(size=96).observation_space.shape
        (96, 96, 3)

    :param rewards: give those of the game, rather than 0
    :param size: height and width of the image in pixels
    :param render_mode: None or "rgb_array"
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  as gymnasium's
    _RENDER_SIZE = 576  # pixels, 64 for each of the 9 cells in sight

    def __init__(
        self, rewards: bool = True, size: int = 64, render_mode: str | None = None
    ) -> None:
        with requires_extra("crafter"):
            import crafter

        self.rewards, self.size, self.render_mode = rewards, size, render_mode
        self._maker = crafter.Env
        self._game: Any = None
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(len(crafter.constants.actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if self._game is None or seed is not None:
            # A game numbers its episodes: with its seed the number decides the world.
            drawn = int(self.np_random.integers(2**31 - 1))
            size = (self.size, self.size)
            self._game = self._maker(size=size, reward=self.rewards, seed=drawn)
            _choose_in_order(self._game)
        return np.ascontiguousarray(self._game.reset()), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        image, reward, ended, found = self._game.step(int(action))
        info = deepcopy(found)  # where the player stands is one array in all steps
        died = info["discount"] == 0
        return np.ascontiguousarray(image), float(reward), died, bool(ended) and not died, info

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        # At night the picture has noise, drawn from what also decides where creatures go.
        random = self._game._world.random
        before = random.get_state()
        try:
            picture = self._game.render((self._RENDER_SIZE, self._RENDER_SIZE))
        finally:
            random.set_state(before)
        return np.ascontiguousarray(picture)


def _choose_in_order(game: Any) -> None:
    """
    Let a seed decide which creature leaves the world.

    Crafter 1.8.3 draws it from a set, which Python orders by the addresses of what it holds.
    """
    world: type = type(game._world)

    class Ordered(world):
        @property
        def chunks(self) -> dict[Any, list[Any]]:
            at = self._obj_map
            return {
                key: sorted(found, key=lambda creature: at[tuple(creature.pos)])
                for key, found in self._chunks.items()
            }

    game._world.__class__ = Ordered
