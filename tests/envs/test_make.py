"""Environments by name."""

import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo.envs import env_name, make_env


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("CartPole-v1", (4,), np.float32),
        ("pixels/CartPole-v1", (64, 64, 3), np.uint8),
        ("dmc_pixels/cartpole-balance", (64, 64, 3), np.uint8),
        ("dmc_vision/cartpole-balance", (64, 64, 3), np.uint8),
        ("memory/TMaze/7", (3,), np.float32),
        ("memory/card_game/6", (), np.int64),
        ("atari/pong", (96, 96, 1), np.uint8),
        ("atari100k/pong", (64, 64, 3), np.uint8),
    ],
)
def test_every_form_of_name_makes_its_environment(
    name: str, shape: tuple[int, ...], dtype: type
) -> None:
    env = make_env(name)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert (np.shape(obs), np.asarray(obs).dtype) == (shape, dtype)
    env.close()


def test_states_of_the_control_suite_are_a_dict() -> None:
    assert isinstance(make_env("dmc/cartpole-balance").observation_space, spaces.Dict)


def test_the_papers_names_are_the_same_tasks() -> None:
    names = ["dmc_vision/walker-walk", "dmc_proprio/walker-walk", "atari/pong", "CartPole-v1"]
    known = ["dmc_pixels/walker-walk", "dmc/walker-walk", "atari/pong", "CartPole-v1"]
    assert [env_name(name) for name in names] == known
    assert isinstance(make_env("dmc_proprio/cartpole-balance").observation_space, spaces.Dict)


def test_arguments_reach_the_environment() -> None:
    assert make_env("pixels/CartPole-v1", size=48).observation_space.shape == (48, 48, 3)


def test_a_control_name_without_a_task_is_refused() -> None:
    with pytest.raises(ValueError, match="names no task"):
        make_env("dmc/cartpole")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memory/TMaze", "'TMaze' has no size; expected TMaze/<length>, a whole number"),
        ("memory/CardGame/x", "expected CardGame/<n_cards>"),
        ("memory/YMaze/3", "Did you mean TMaze"),
    ],
)
def test_a_memory_task_needs_a_name_and_a_size(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(name)
