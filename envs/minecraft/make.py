"""Minecraft by one call."""

from typing import Literal

import gymnasium as gym

from dreamzoo.envs.errors import find_name
from dreamzoo.envs.minecraft.actions import Player
from dreamzoo.envs.minecraft.env import MinecraftEnv

_TASKS = ("diamond",)


def make_minecraft(
    task: str = "diamond",
    *,
    size: int = 64,
    length: int = 36_000,
    break_speed: float = 100.0,
    sticky_attack: int = 0,
    sticky_jump: int = 10,
    pitch_limits: tuple[float, float] = (-60.0, 60.0),
    port: int | None = None,
    render_mode: Literal["rgb_array"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make Minecraft's diamond task as DreamerV3 plays it (arXiv:2301.04104v2), by MineRL 0.4.4.

    Observations are the image, how many of every item the player carries now and at most in this
    episode, the item in the hand as one-hot, health, hunger and breath. There are 25 actions,
    ``env.unwrapped.action_names``. The first of each of twelve items in an episode is rewarded with
    1, and ``info["milestones"]`` tells the step in which it came; all of the health, lost or won,
    is worth 0.01. Every episode has a world of its own; it is terminated by death only, and
    truncated after ``length`` steps.

    The first ``reset`` starts a game, which needs Java 8 and a screen (``MINERL_HEADLESS=1`` makes
    one by xvfb). If a game dies, ``step`` raises and the next ``reset`` starts another.

    Example:
        >>> from dreamzoo.envs import make_minecraft
        >>> env = make_minecraft(port=9000)  # where a game listens; it is met by reset()
        >>> env.action_space, env.observation_space["image"].shape
        (Discrete(25), (64, 64, 3))
        >>> env.unwrapped.action_names[10:12]
        ('jump', 'place_dirt')

    :param task: "diamond"
    :param size: height and width of the image in pixels
    :param length: steps of an episode; a second of the game has 20
    :param break_speed: how many times as fast as in the game blocks break
    :param sticky_attack: steps that an attack lasts; 0: its own. At the game's own break speed
        DreamerV3 has 30
    :param sticky_jump: steps that a jump lasts; 0: its own
    :param pitch_limits: degrees between which the head stays, up negative; other turns are refused
    :param port: of a game with the Malmo mod that runs on this machine; None: start one
    :param render_mode: "rgb_array" for the image from ``render()``
    :param seed: seed of all worlds, as if by ``env.reset(seed=seed)``
    :raises ImportError: where minerl or its game is not installed
    :raises ValueError: for a task that does not exist, and numbers out of range
    """
    find_name("task of Minecraft", task, _TASKS)
    low, high = pitch_limits
    wrong = {
        "size must be at least 1": size < 1,
        "length must be at least 1": length < 1,
        "break_speed must be above 0": not break_speed > 0,
        "sticky_attack and sticky_jump must be at least 0": min(sticky_attack, sticky_jump) < 0,
        "pitch_limits must be the lower and the higher": not low <= high,
    }
    for message, is_so in wrong.items():
        if is_so:
            raise ValueError(f"{message}.")
    player = Player(sticky_attack, sticky_jump, (low, high))
    env = MinecraftEnv(size, length, break_speed, player, port, render_mode)
    if seed is not None:
        gym.Env.reset(env, seed=seed)  # without a game
    return env
