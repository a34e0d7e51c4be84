"""Real environments by one name, for scripts and command lines."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import AddRenderObservation, ResizeObservation

from dreamzoo.envs.atari import make_atari
from dreamzoo.envs.bsuite import make_bsuite
from dreamzoo.envs.crafter import make_crafter
from dreamzoo.envs.dmc import make_dmc
from dreamzoo.envs.memory.make import make_memory
from dreamzoo.envs.minatar import make_minatar
from dreamzoo.envs.minecraft.make import make_minecraft
from dreamzoo.envs.minigrid import make_minigrid
from dreamzoo.envs.popgym import make_popgym
from dreamzoo.envs.procgen import make_procgen
from dreamzoo.envs.rendering import draw_in_memory
from dreamzoo.wrappers.stateful_observation import PreviousActionReward

#: What makes the environments of a suite whose names are passed on as they are.
_SUITES: dict[str, Callable[..., gym.Env]] = {
    "bsuite": make_bsuite,
    "memory": make_memory,
    "minatar": make_minatar,
    "minecraft": make_minecraft,
    "minigrid": make_minigrid,
    "popgym": make_popgym,
    "procgen": make_procgen,
}
#: Suites under the names that papers have for them.
_PAPERS_NAMES = {"dmc_proprio": "dmc", "dmc_vision": "dmc_pixels"}
#: What papers use and cannot be had, and why.
UNAVAILABLE = {
    "dmlab": "DeepMind Lab is in no package index: it is built with Bazel from github.com/"
    "google-deepmind/lab, which fetches its game engine's sources and levels from elsewhere."
}


def make_env(name: str, *, previous_action: bool = False, **kwargs: Any) -> gym.Env:
    """
    Make an environment by name.

    ``CartPole-v1`` is any gymnasium id, ``pixels/CartPole-v1`` the same seen as 64x64 frames,
    ``dmc/cartpole-balance`` and ``dmc_pixels/cartpole-balance`` are dm_control tasks (also
    ``dmc_proprio/...`` and ``dmc_vision/...``, as papers call these benchmarks),
    ``atari/pong`` and ``atari100k/pong`` Atari games under either protocol, ``minatar/breakout``
    those of MinAtar, ``procgen/coinrun`` those of ProcGen. ``crafter`` is Crafter,
    ``crafter/noreward`` the same without rewards, ``minecraft/diamond`` Minecraft.
    ``popgym/RepeatFirstEasy``,
    ``bsuite/memory_len/15`` and ``minigrid/MemoryS7`` are tasks of these suites,
    ``memory/TMaze/50`` and ``memory/CardGame/8`` those of :mod:`dreamzoo.envs.memory`.
    :func:`dreamzoo.benchmark.suite` lists the tasks of a benchmark.

    Example:
        >>> from dreamzoo.envs import make_env
        >>> make_env("CartPole-v1").observation_space.shape
        (4,)
        >>> make_env("pixels/CartPole-v1").observation_space.shape
        (64, 64, 3)
        >>> make_env("dmc/walker-walk", flatten=True).observation_space.shape
        (24,)

    :param name: one of these forms
    :param previous_action: add the previous action and reward to the observation, see
        :class:`~dreamzoo.wrappers.PreviousActionReward`. dreamzoo's agents know their own actions
    :param kwargs: of the function that makes it
    :raises ValueError: for a dm_control name without a task
    :raises ImportError: for what is not installed, with the line that installs it, if one can
    """
    draw_in_memory()
    env = _make(name, kwargs)
    return PreviousActionReward(env) if previous_action else env


def _make(name: str, kwargs: dict[str, Any]) -> gym.Env:
    suite, _, rest = env_name(name).partition("/")
    if suite in UNAVAILABLE:
        raise ImportError(f"{name} cannot be made. {UNAVAILABLE[suite]}")
    if suite in ("dmc", "dmc_pixels"):
        domain, _, task = rest.partition("-")
        if not task:
            raise ValueError(f"{name!r} names no task; expected {suite}/<domain>-<task>.")
        return make_dmc(domain, task, pixels=suite == "dmc_pixels", **kwargs)
    if suite in ("atari", "atari100k"):
        return make_atari(rest, protocol=suite, **kwargs)  # type: ignore[arg-type]
    if suite in _SUITES:
        return _SUITES[suite](rest, **kwargs)
    if suite == "crafter":
        return make_crafter(rest or "reward", **kwargs)
    if suite == "pixels":
        return make_pixels(rest, **kwargs)
    return gym.make(name, **kwargs)


def env_name(name: str) -> str:
    """
    Return the name under which runs, results and settings know an environment.

    Example:
        >>> from dreamzoo.envs import env_name
        >>> env_name("dmc_vision/walker-walk"), env_name("CartPole-v1")
        ('dmc_pixels/walker-walk', 'CartPole-v1')

    :param name: as :func:`make_env` takes it
    """
    suite, slash, rest = name.partition("/")
    return f"{_PAPERS_NAMES.get(suite, suite)}{slash}{rest}"


def make_pixels(env_id: str, size: int = 64, **kwargs: Any) -> gym.Env:
    """
    Make an environment that is observed through its rendered frames.

    Example:
        >>> from dreamzoo.envs import make_pixels
        >>> obs, _ = make_pixels("CartPole-v1", size=96).reset(seed=0)
        >>> obs.shape, obs.dtype
        ((96, 96, 3), dtype('uint8'))

    :param env_id: gymnasium id of an environment with ``rgb_array`` rendering
    :param size: height and width of the frames, pixels
    :param kwargs: of ``gymnasium.make``
    """
    env = AddRenderObservation(gym.make(env_id, render_mode="rgb_array", **kwargs))
    return ResizeObservation(env, (size, size))
