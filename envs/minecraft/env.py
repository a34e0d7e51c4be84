"""Minecraft's diamond task under gymnasium's interface."""

import struct
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import requires
from dreamzoo.envs.minecraft.actions import ACTIONS, Player
from dreamzoo.envs.minecraft.install import GAME, INSTALL

#: Items on the way to a diamond, each rewarded once an episode (arXiv:2301.04104v2).
MILESTONES = (
    *("log", "planks", "stick", "crafting_table", "wooden_pickaxe", "cobblestone"),
    *("stone_pickaxe", "iron_ore", "furnace", "iron_ingot", "iron_pickaxe", "diamond"),
)
#: What all of a player's health is worth, lost or won (the code of DreamerV3).
_HEALTH = 0.01


class MinecraftEnv(gym.Env):
    """
    MineRL's environment, seen and steered as in DreamerV3.

    Example:
        >>> from dreamzoo.envs.minecraft.env import MinecraftEnv
        >>> env = MinecraftEnv(port=9000)  # a game is looked for by the first reset()
        >>> env.action_names[:3], len(env.items)
        (('noop', 'attack', 'turn_up'), 391)

    :param size: height and width of the image in pixels
    :param length: steps after which an episode is truncated
    :param break_speed: how many times as fast as in the game blocks break
    :param player: what becomes of actions; None: the paper's
    :param port: of a game that runs on this machine; None: start one
    :param render_mode: None or "rgb_array"
    :raises ImportError: where minerl or its game is not installed
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  as gymnasium's

    def __init__(
        self,
        size: int = 64,
        length: int = 36_000,
        break_speed: float = 100.0,
        player: Player | None = None,
        port: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        with requires(INSTALL):
            from dreamzoo.envs.minecraft import mission
        if port is None and not mission.has_game():
            raise ImportError(
                "minerl is installed without a game. Compile one with Java 8, or copy it from "
                f"where it was ({GAME}), and install it with: "
                "dreamzoo install-minerl --game MalmoMod-0.37.0-fat.jar. "
                "port= plays a game that runs already."
            )
        self.length, self.port, self.render_mode = length, port, render_mode
        self.action_names, self.items, self._held = tuple(ACTIONS), mission.ITEMS, mission.HELD
        self._player = player or Player()
        task = mission.DiamondMission(size, break_speed)
        self._start = lambda: mission.Game(task, port)
        self._game: Any = None
        self._runs = False  # an episode
        self._steps = 0
        self._seen: dict[str, np.ndarray] = {}
        self._milestones: dict[str, int] = {}  # by item: the step that brought it
        number = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        counts = spaces.Box(0, np.inf, (len(self.items),), np.float32)
        self.observation_space = spaces.Dict(
            image=spaces.Box(0, 255, (size, size, 3), np.uint8),
            inventory=counts,
            inventory_max=counts,
            equipped=spaces.Box(0, 1, (len(self._held),), np.float32),
            health=number,
            hunger=number,
            breath=number,
        )
        self.action_space = spaces.Discrete(len(ACTIONS))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._player.reset()
        self._steps, self._milestones, self._seen = 0, {}, {}
        try:
            if self._game is None:
                self._game = self._start()
            self._game.seed(int(self.np_random.integers(2**31)), seed_spaces=False)
            self._seen = self._observe(self._game.reset())
        except BaseException as error:
            self._give_up("did not start an episode", error)
        self._runs = True
        return dict(self._seen), self._info()

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if not self._runs:
            raise RuntimeError("No episode runs. Call reset() first.")
        command = self._player.act(self.action_names[int(action)])
        try:
            obs, _, ended, told = self._game.step(command)
            if "error" in told:  # what is observed then is random
                raise ConnectionError("no answer")
            before, self._seen = self._seen, self._observe(obs)
        except BaseException as error:
            self._give_up(f"died in step {self._steps + 1} of an episode", error)
        self._steps += 1
        truncated = self._steps >= self.length and not ended
        self._runs = not ended and not truncated
        return dict(self._seen), self._reward(before), bool(ended), truncated, self._info()

    def render(self) -> np.ndarray | None:
        return None if self.render_mode is None else self._seen["image"].copy()

    def close(self) -> None:
        self._runs = False
        if self._game is not None:
            game, self._game = self._game, None
            game.close()

    def _observe(self, obs: dict[str, Any]) -> dict[str, np.ndarray]:
        """Turn what MineRL shows into the observation; maxima go on from those seen."""
        count = obs["inventory"]
        count["log"] = count["log"] + count["log2"]
        inventory = np.array([count[item] for item in self.items], np.float32)
        equipped = np.zeros(len(self._held), np.float32)
        equipped[self._held.index(obs["equipped_items"]["mainhand"]["type"])] = 1
        life = obs["life_stats"]
        return {
            "image": np.ascontiguousarray(obs["pov"]),
            "inventory": inventory,
            "inventory_max": np.maximum(inventory, self._seen.get("inventory_max", 0)),
            "equipped": equipped,
            "health": np.array([life["life"] / 20], np.float32),
            "hunger": np.array([life["food"] / 20], np.float32),
            "breath": np.array([life["air"] / 300], np.float32),
        }

    def _reward(self, before: dict[str, np.ndarray]) -> float:
        """Reward the first of every milestone, and health."""
        reward = _HEALTH * float(self._seen["health"][0] - before["health"][0])
        for item in MILESTONES:
            index = self.items.index(item)
            if before["inventory_max"][index] == 0 < self._seen["inventory"][index]:
                self._milestones[item] = self._steps
                reward += 1.0
        return reward

    def _info(self) -> dict[str, Any]:
        return {"milestones": dict(self._milestones)}

    def _give_up(self, what: str, error: BaseException) -> NoReturn:
        """
        Close the game, of which nobody knows any more what it will say next, and tell the reason.

        :param what: happened to it
        :param error: how that was noticed
        :raises RuntimeError: for an error; an interrupt passes unchanged
        """
        self.close()
        if not isinstance(error, Exception):
            raise error
        # minerl reads on where a connection has ended, and finds nothing.
        is_silent = isinstance(error, AttributeError | TypeError | struct.error)
        lines = [line for line in str(error).splitlines() if line.strip()]  # a game's whole log
        said = "no answer" if is_silent else "; ".join(lines[-2:]) or type(error).__name__
        where = "Minecraft" if self.port is None else f"Minecraft at port {self.port}"
        again = "starts another" if self.port is None else "connects again"
        raise RuntimeError(
            f"{where} {what}: {said.rstrip('.')}. It is closed; reset() {again}."
        ) from error
