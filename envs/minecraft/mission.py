"""The diamond task in MineRL's own terms. It is imported where minerl is installed."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from minerl.env._singleagent import _SingleAgentEnv
from minerl.env.malmo import InstanceManager, MinecraftInstance
from minerl.herobraine.env_spec import EnvSpec
from minerl.herobraine.hero import handlers, mc

from dreamzoo.envs.minecraft.install import GAME

#: What an inventory counts. The two kinds of logs that the game has count as one.
ITEMS = tuple(sorted(set(mc.ALL_ITEMS) - {"log2"}))
#: What a hand can hold; "other" is what minerl does not know.
HELD = tuple(sorted({*mc.ALL_ITEMS, "other"}))


class DiamondMission(EnvSpec):
    """
    DreamerV3's task: a new world in the morning, nothing in the pockets, no end but death.

    :param size: height and width of the image in pixels
    :param break_speed: how many times as fast as in the game blocks break
    """

    def __init__(self, size: int, break_speed: float) -> None:
        self.size, self.break_speed = size, break_speed
        super().__init__("DreamerV3Diamond-v0")

    def create_observables(self) -> list[Any]:
        return [
            handlers.POVObservation((self.size, self.size)),
            handlers.FlatInventoryObservation(mc.ALL_ITEMS),
            handlers.EquippedItemObservation(mc.ALL_ITEMS, _default="air", _other="other"),
            handlers.ObservationFromLifeStats(),
        ]

    def create_actionables(self) -> list[Any]:
        keys = ("forward", "back", "left", "right", "jump", "sneak", "attack")
        commands = (
            handlers.PlaceBlock,
            handlers.EquipAction,
            handlers.CraftAction,
            handlers.CraftNearbyAction,
            handlers.SmeltItemNearby,
        )
        return [
            *(handlers.KeybasedCommandAction(key, mc.INVERSE_KEYMAP[key]) for key in keys),
            handlers.CameraAction(),
            *(of(["none", *mc.ALL_ITEMS], _other="none", _default="none") for of in commands),
        ]

    def create_agent_start(self) -> list[Any]:
        return [handlers.AgentStartBreakSpeedMultiplier(self.break_speed)]

    def create_server_world_generators(self) -> list[Any]:
        return [handlers.DefaultWorldGenerator(force_reset=True)]

    def create_server_initial_conditions(self) -> list[Any]:
        return [
            handlers.TimeInitialCondition(allow_passage_of_time=True, start_time=0),
            handlers.SpawningInitialCondition(allow_spawning=True),
        ]

    def create_server_quit_producers(self) -> list[Any]:
        return [handlers.ServerQuitWhenAnyAgentFinishes()]

    def create_rewardables(self) -> list[Any]:
        return []  # rewards are counted from the inventory

    def create_agent_handlers(self) -> list[Any]:
        return []  # a diamond ends nothing

    def create_monitors(self) -> list[Any]:
        return []

    def create_server_decorators(self) -> list[Any]:
        return []

    def is_from_folder(self, folder: str) -> bool:
        return False  # nobody has recorded this task

    def determine_success_from_rewards(self, rewards: list[float]) -> bool:
        return sum(rewards) > 11  # all twelve items, with some health lost

    def get_docstring(self) -> str:
        return DiamondMission.__doc__ or ""


class Game(_SingleAgentEnv):
    """
    MineRL's environment with one game, which it neither replaces nor leaves behind.

    :param mission: the task
    :param port: of a game that runs on this machine; None: start one
    :raises OSError: if it cannot be started
    :raises EOFError: if it ends while it starts, with all that it said
    """

    def __init__(self, mission: EnvSpec, port: int | None) -> None:
        if port is None:
            instance = InstanceManager.get_instance(os.getpid())
        else:
            instance = MinecraftInstance(port=port, existing=True)
        try:
            instance.launch(replaceable=False)
        except BaseException:
            with suppress(psutil.NoSuchProcess):
                instance.close()
            raise
        instance.had_to_clean = False
        super().__init__(mission, instances=[instance])

    def _TO_MOVE_handle_frozen_minecraft(self, instance: Any) -> None:
        """Do nothing, where minerl starts a second game that nobody then plays or ends."""

    def close(self) -> None:
        with suppress(psutil.NoSuchProcess):  # it has died already
            super().close()


def has_game() -> bool:
    """Return whether minerl has a game to start."""
    return Path(InstanceManager.MINECRAFT_DIR, "build", "libs", Path(GAME).name).exists()
