"""Errors name the remedy."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import pytest

from dreamzoo.envs import make_atari, make_dmc, make_env, make_minatar
from dreamzoo.envs.errors import requires_extra

# Given as mypy would not let us.
SLOW: dict[str, Any] = {"render_quality": "slow"}
ATARI100: dict[str, Any] = {"protocol": "atari100"}


@pytest.mark.parametrize(
    ("factory", "package", "extra"),
    [
        (partial(make_dmc, "walker", "walk"), "dm_control", "dmc"),
        (partial(make_dmc, "walker", "walk"), "shimmy", "dmc"),
        (partial(make_atari, "pong", seed=0), "ale_py", "atari"),
        (partial(make_atari, "pong", seed=0), "PIL", "atari"),
        (partial(make_minatar, "breakout"), "minatar", "minatar"),
        (partial(make_env, "crafter"), "crafter", "crafter"),
        (partial(make_env, "bsuite/memory_len/0"), "bsuite", "memory"),
        (partial(make_env, "popgym/RepeatFirstEasy"), "popgym", "memory"),
        (partial(make_env, "minigrid/MemoryS7"), "minigrid", "memory"),
    ],
)
def test_missing_package_names_the_extra(
    factory: Callable[[], gym.Env], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself does for a blocked import
    with pytest.raises(ImportError, match=rf'{package}.* pip install "dreamzoo\[{extra}\]"'):
        factory()


def test_what_needs_no_extra_names_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procgen", None)
    with pytest.raises(ImportError, match=r"procgen is not .* && pip install --no-deps procgen2"):
        make_env("procgen/coinrun")


def test_minecraft_names_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    mission = "dreamzoo.envs.minecraft.mission"
    monkeypatch.delattr(mission, raising=False)
    for name in list(sys.modules):  # what was imported before
        if name == mission or name.startswith("minerl."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minerl", None)
    with pytest.raises(ImportError, match=r'minerl.* is not .*minecraft\]" && dreamzoo install'):
        make_env("minecraft/diamond")


def test_what_cannot_be_installed_says_why() -> None:
    with pytest.raises(ImportError, match="dmlab/rooms_watermaze cannot be made"):
        make_env("dmlab/rooms_watermaze")


def test_broken_package_keeps_its_own_error() -> None:
    with pytest.raises(ImportError, match="undefined symbol"), requires_extra("dmc"):
        raise ImportError("undefined symbol")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (partial(make_atari, "pogn"), "'pogn'. Did you mean Pong"),
        (partial(make_atari, "ms_pacmn"), "Did you mean MsPacman"),
        (partial(make_atari, "xxxxxx"), "Choose from .*'Zaxxon'"),
        (partial(make_dmc, "walker", "wlak"), "'walker-wlak'. Did you mean walker-walk"),
        (partial(make_dmc, "cup", "catch"), "Did you mean ball_in_cup-catch"),
        (partial(make_dmc, "lqr", "lqr_2_1"), "Unknown task"),
        (partial(make_dmc, "walker", "walk", pixels=True, flatten=True), "flatten=True"),
        (partial(make_dmc, "walker", "walk", **SLOW), "render_quality must be"),
        (partial(make_atari, "pong", **ATARI100), "Did you mean atari100k"),
    ],
)
def test_mistaken_argument_is_explained(factory: Callable[[], gym.Env], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory()
