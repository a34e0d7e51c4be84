"""MinAtar's games, played for real and compared with the package's own."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import AGENTS
from dreamzoo.envs import make_env, make_minatar

pytest.importorskip("minatar", reason='needs pip install "dreamzoo[minatar]"')

GAMES = {
    "asterix": (4, 5),
    "breakout": (4, 3),
    "freeway": (7, 3),
    "seaquest": (10, 6),
    "space_invaders": (6, 4),
}


@pytest.mark.filterwarnings("ignore:.*unwrapped version")  # said of every wrapped environment
@pytest.mark.parametrize("game", GAMES)
def test_every_game_has_its_board_and_passes_the_checkers(game: str) -> None:
    channels, actions = GAMES[game]
    env = make_env(f"minatar/{game}")
    assert (env.observation_space.shape, env.observation_space.dtype) == ((10, 10, channels), bool)
    assert env.action_space == spaces.Discrete(actions)
    check_gymnasium_env(env, skip_render_check=True)  # a window needs a display
    check_sb3_env(env)


def test_an_episode_equals_the_packages_own() -> None:
    env = make_minatar("space_invaders", seed=3)
    original: Any = gym.make("MinAtar/SpaceInvaders-v1", disable_env_checker=True)
    board, expected = env.reset(seed=3)[0], original.reset(seed=3)[0]
    score, terminated = 0.0, False
    env.action_space.seed(0)
    while not terminated:
        np.testing.assert_array_equal(board, expected)
        action = int(env.action_space.sample())
        board, reward, terminated, truncated, _ = env.step(action)
        expected, *ends = original.step(action)[:4]
        assert [reward, terminated, truncated] == ends
        score += float(reward)
    assert score > 0


def test_a_seed_decides_the_episode_whatever_was_played_before() -> None:
    def boards(actions_before: list[int]) -> list[np.ndarray]:
        env = make_minatar("breakout", sticky_action_prob=0.9)
        env.reset(seed=1)
        for action in actions_before:
            env.step(action)
        env.reset(seed=5)
        return [env.step(0)[0] for _ in range(8)]

    np.testing.assert_array_equal(boards([]), boards([2] * 5))


@pytest.mark.parametrize("name", ["SpaceInvaders", "spaceinvaders", "MinAtar/SpaceInvaders-v1"])
def test_a_game_is_found_in_any_spelling(name: str) -> None:
    spec = make_minatar(name).spec
    assert spec is not None
    assert spec.id == "MinAtar/SpaceInvaders-v1"


def test_a_mistyped_game_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'braekout'. Did you mean breakout"):
        make_env("minatar/braekout")


def test_options_reach_the_game() -> None:
    env: Any = make_env(
        "minatar/asterix", all_actions=True, sticky_action_prob=0.0, difficulty_ramping=False
    )
    assert env.action_space == spaces.Discrete(6)
    assert env.unwrapped.game.sticky_action_prob == 0.0
    assert not env.unwrapped.game.env.ramping


def test_the_limit_of_steps_truncates_and_without_one_freeway_ends_itself() -> None:
    env = make_env("minatar/freeway", max_episode_steps=5, seed=0)
    ends = [env.step(0)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]
    env = make_env("minatar/freeway", seed=0)
    ends = [env.step(0)[2:4] for _ in range(2501)]
    assert ends == [(False, False)] * 2500 + [(True, False)]


def test_frames_show_every_cell_as_bytes() -> None:
    env = make_minatar("breakout", render_mode="rgb_array", seed=0)
    frame: Any = env.render()
    assert (frame.shape, frame.dtype) == ((160, 160, 3), np.uint8)
    assert (frame[16:64] == frame[16, 0]).all()  # three rows of bricks
    assert frame[16, 0].max() > 50
    assert (frame[64:144, 32:144] == 0).all()


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_agents_learn_from_the_board(agent: str) -> None:
    cls: Any = AGENTS[agent]
    if spaces.Discrete not in cls.action_spaces:
        pytest.skip("chooses continuous actions only")
    model = cls("MlpPolicy", make_env("minatar/breakout"), **cls.smallest)
    model.learn(60)
    assert model.num_timesteps >= 60


def test_agents_of_sb3_learn_from_the_board() -> None:
    env = make_vec_env(partial(make_env, "minatar/breakout"), n_envs=2, seed=0)
    assert PPO("MlpPolicy", env, n_steps=16, batch_size=32).learn(64).num_timesteps == 64
    dqn = DQN("MlpPolicy", make_env("minatar/breakout"), buffer_size=99, learning_starts=9)
    assert dqn.learn(40).num_timesteps == 40
