"""What a player of the diamond task can do, and what becomes of it on the way to the game."""

from typing import Any

#: Keys and commands of MineRL, as they are where an action says nothing of them.
_IDLE: dict[str, Any] = {
    **dict.fromkeys(("forward", "back", "left", "right", "jump", "sneak", "attack"), 0),
    "camera": (0.0, 0.0),  # degrees of pitch (positive: down) and yaw
    **dict.fromkeys(("craft", "nearbyCraft", "nearbySmelt", "place", "equip"), "none"),
}

#: The 25 actions of DreamerV3 (arXiv:2301.04104v2, section Minecraft; its order is the code's).
ACTIONS: dict[str, dict[str, Any]] = {
    "noop": {},
    "attack": {"attack": 1},
    "turn_up": {"camera": (-15.0, 0.0)},
    "turn_down": {"camera": (15.0, 0.0)},
    "turn_left": {"camera": (0.0, -15.0)},
    "turn_right": {"camera": (0.0, 15.0)},
    "forward": {"forward": 1},
    "back": {"back": 1},
    "left": {"left": 1},
    "right": {"right": 1},
    "jump": {"jump": 1, "forward": 1},
    "place_dirt": {"place": "dirt"},
    "craft_planks": {"craft": "planks"},
    "craft_stick": {"craft": "stick"},
    "craft_crafting_table": {"craft": "crafting_table"},
    "place_crafting_table": {"place": "crafting_table"},
    "craft_wooden_pickaxe": {"nearbyCraft": "wooden_pickaxe"},
    "craft_stone_pickaxe": {"nearbyCraft": "stone_pickaxe"},
    "craft_iron_pickaxe": {"nearbyCraft": "iron_pickaxe"},
    "equip_stone_pickaxe": {"equip": "stone_pickaxe"},
    "equip_wooden_pickaxe": {"equip": "wooden_pickaxe"},
    "equip_iron_pickaxe": {"equip": "iron_pickaxe"},
    "craft_furnace": {"nearbyCraft": "furnace"},
    "place_furnace": {"place": "furnace"},
    "smelt_iron_ingot": {"nearbySmelt": "iron_ingot"},
}


class Player:
    """
    Turns actions into MineRL's, of which some last and others are refused.

    Example:
        >>> from dreamzoo.envs.minecraft.actions import Player
        >>> player = Player(sticky_jump=2)
        >>> [player.act(name)["jump"] for name in ("jump", "noop", "noop")]
        [1, 1, 0]

    :param sticky_attack: steps that an attack lasts, without jumps; 0: its own
    :param sticky_jump: steps that a jump lasts, forward; 0: its own
    :param pitch_limits: degrees between which the head stays, up negative
    """

    def __init__(
        self,
        sticky_attack: int = 0,
        sticky_jump: int = 10,
        pitch_limits: tuple[float, float] = (-60.0, 60.0),
    ) -> None:
        self.sticky_attack, self.sticky_jump = sticky_attack, sticky_jump
        self.pitch_limits = pitch_limits
        self.reset()

    def reset(self) -> None:
        """Let go of all keys and look ahead, as at the start of an episode."""
        self._attacks = self._jumps = 0  # steps that are left
        self._pitch = 0.0

    def act(self, name: str) -> dict[str, Any]:
        """
        Return MineRL's action.

        :param name: one of :data:`ACTIONS`
        """
        action = {**_IDLE, **ACTIONS[name]}
        if action["attack"]:
            self._attacks = self.sticky_attack
        if self._attacks > 0:
            action |= {"attack": 1, "jump": 0}
            self._attacks -= 1
        if action["jump"]:
            self._jumps = self.sticky_jump
        if self._jumps > 0:
            action |= {"jump": 1, "forward": 1}
            self._jumps -= 1
        turn, yaw = action["camera"]
        low, high = self.pitch_limits
        if not low <= self._pitch + turn <= high:
            action["camera"] = (0.0, yaw)
        self._pitch += action["camera"][0]
        return action
