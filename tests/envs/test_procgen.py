"""ProcGen's games, played for real and compared with the package's own."""

import sys
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from dreamzoo.benchmark import suite
from dreamzoo.envs import make_env, make_procgen
from dreamzoo.envs.procgen import INSTALL, ProcgenEnv

try:
    make_procgen("coinrun")
except ImportError:
    pytest.skip(f"needs {INSTALL}", allow_module_level=True)

GAMES = [task.name for task in suite("procgen").tasks]


@pytest.mark.parametrize("game", GAMES)
def test_every_game_passes_the_checkers(game: str) -> None:
    env = make_env(f"procgen/{game}", size=64)
    assert env.observation_space == spaces.Box(0, 255, (64, 64, 3), np.uint8)
    check_gymnasium_env(env)
    check_sb3_env(env)


def test_the_papers_images_pass_the_checkers() -> None:
    env = make_env("procgen/coinrun", render_mode="rgb_array")
    assert env.observation_space == spaces.Box(0, 255, (96, 96, 3), np.uint8)
    check_gymnasium_env(env)
    check_sb3_env(env)


def test_an_episode_equals_the_packages_own() -> None:
    env: Any = make_procgen("bigfish", size=64, seed=3)
    from procgen import ProcgenGym3Env  # imports since make_procgen has shown it the names

    original = ProcgenGym3Env(
        **dict(num=1, env_name="bigfish", distribution_mode="hard", num_levels=0, num_threads=0),
        rand_seed=env._game.options["rand_seed"],
    )
    image, info = env.reset()
    original.act(np.array([-1]))  # reset() begins the second level: seed= has shown the first
    env.action_space.seed(0)
    for _ in range(3):
        ended = False
        while not ended:
            _, expected, _ = original.observe()
            np.testing.assert_array_equal(image, expected["rgb"][0])
            last, action = image, env.action_space.sample()
            image, reward, ended, truncated, info = env.step(action)
            original.act(np.array([action]))
            rewards, _, is_first = original.observe()
            assert (reward, ended, truncated) == (rewards[0], is_first[0], False)
        np.testing.assert_array_equal(image, last)  # the frame of the end is never shown
        image, begun = env.reset()
        assert begun["level_seed"] == info["level_seed"]  # and no level is left out


def test_images_are_the_large_frames_resized() -> None:
    image_module = pytest.importorskip("PIL.Image")
    env: Any = make_procgen("ninja", render_mode="rgb_array", seed=0)
    image, *_ = env.step(7)
    frame = env.render()
    assert frame.shape == (512, 512, 3)
    resized = image_module.fromarray(frame).resize((96, 96), image_module.Resampling.BILINEAR)
    np.testing.assert_array_equal(image, resized)
    assert make_procgen("ninja").render() is None


def test_the_picture_of_an_end_is_of_its_episode() -> None:
    """ProcGen has begun the next level by then; the last image is kept, and so is its picture."""
    env: Any = make_procgen("bigfish", render_mode="rgb_array", seed=0)
    env.reset()
    ended = False
    while not ended:
        before = env.render()
        _, _, ended, _, _ = env.step(env.action_space.sample())
    last = env.render()
    np.testing.assert_array_equal(last, before)
    env.reset()
    assert (env.render() != last).any()


def test_a_reset_in_between_begins_another_level() -> None:
    env = make_procgen("maze", size=64, seed=0)
    levels = [env.reset()[1]["level_seed"]]
    for _ in range(3):
        assert not env.step(4)[2]
        levels.append(env.reset()[1]["level_seed"])
    assert len(set(levels)) == 4


def test_a_seed_decides_the_levels_and_environments_without_one_differ() -> None:
    def levels(seed: int | None) -> list[int]:
        env = make_procgen("maze", size=64, seed=seed)
        return [env.reset()[1]["level_seed"] for _ in range(3)]

    assert levels(1) == levels(1) != levels(2)
    assert levels(None) != levels(None)


def test_settings_reach_the_game() -> None:
    env: Any = make_procgen("maze", size=64, num_levels=1, start_level=7, distribution_mode="easy")
    seeds = {env.reset()[1]["level_seed"] for _ in range(4)}
    assert seeds == {7}
    assert env._game.options["distribution_mode"] == 0
    hard: Any = make_procgen("maze", seed=0)
    assert hard._game.options["distribution_mode"] == 1


def test_random_actions_find_a_coin_now_and_then() -> None:
    env = make_procgen("coinrun", size=64, seed=0)
    env.action_space.seed(0)
    returns = []
    for _ in range(12):
        env.reset()
        rewards, ended = [0.0], False
        while not ended:
            _, reward, ended, _, _ = env.step(env.action_space.sample())
            rewards.append(float(reward))
        returns.append(sum(rewards))
    assert set(returns) == {0.0, 10.0}


def test_no_other_package_finds_gymnasium_under_the_old_name() -> None:
    ProcgenEnv("maze", size=64)
    assert "gym" not in sys.modules


def test_a_mistyped_game_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'coin_rnu'. Did you mean coinrun"):
        make_env("procgen/coin_rnu")
