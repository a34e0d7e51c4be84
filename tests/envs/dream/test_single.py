"""One dream as a gymnasium environment."""

import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.play import PlayableGame
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from tests.envs.dream.conftest import (
    BOX,
    IMAGE,
    MIXED,
    VECTOR,
    make_agent,
)


@pytest.mark.parametrize(
    "observation_space", [VECTOR, IMAGE, MIXED], ids=["vector", "image", "dict"]
)
def test_checkers_find_nothing(observation_space: spaces.Space, tmp_path: Path) -> None:
    agent = make_agent(observation_space, BOX, steps=20)
    agent.save(tmp_path / "model")
    env = gym.make(
        "dreamzoo/DreamEnv-v0", model=str(tmp_path / "model.zip"), render_mode="rgb_array"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not.*normalized|.*symmetric.*")  # the toy's
        check_env(env.unwrapped)
        sb3_check_env(DreamEnv(agent, render_mode="rgb_array"))


def test_one_dream_is_the_vector_environment_of_one(agent: DreamerV3) -> None:
    single = DreamEnv(agent, horizon=4, termination=None)
    obs, info = single.reset(seed=7)
    stream = int(np.random.default_rng(np.random.SeedSequence(7)).integers(2**31))
    many = DreamVectorEnv(agent, 1, horizon=4, termination=None)
    expected, expected_info = many.reset(seed=stream)
    np.testing.assert_array_equal(obs, expected[0])  # type: ignore[index]
    np.testing.assert_array_equal(info["latent"], expected_info["latent"][0])
    obs, reward, terminated, truncated, info = single.step(2)
    batch = many.step(np.array([2]))
    np.testing.assert_array_equal(obs, batch[0][0])  # type: ignore[index]
    assert reward == float(batch[1])
    assert isinstance(reward, float)
    assert (terminated, truncated) == (False, False)
    assert np.isscalar(info["value"])


def test_gymnasium_makes_dreams_from_a_file(agent: DreamerV3, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    agent.save(path)
    env = gym.make("dreamzoo/DreamEnv-v0", model=str(path), horizon=3)
    assert env.spec is not None
    again = gym.make(env.spec)
    a, b = env.reset(seed=1)[0], again.reset(seed=1)[0]
    np.testing.assert_array_equal(a, b)
    vector = gym.make_vec("dreamzoo/DreamEnv-v0", num_envs=3, model=str(path))
    assert isinstance(vector.unwrapped, DreamVectorEnv)
    assert vector.reset(seed=0)[0].shape == (3, 3)
    assert DreamEnv(lambda: agent).dream.model is agent
    assert DreamEnv(str(path)[:-4]).dream.model is not agent


def test_gymnasium_tools_work_on_a_dream(
    image_agent: DreamerV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SDL's own choice without a screen would shut down EGL for the tests that render after this,
    # and it keeps to what it chose when CartPole was drawn.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.quit()
    env = DreamEnv(image_agent, render_mode="rgb_array", horizon=6, termination=None)
    with RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True) as video:
        video.reset(seed=0)
        while not video.step(video.action_space.sample())[3]:
            pass
    assert list(tmp_path.glob("*.mp4"))
    game = PlayableGame(env, {(ord("a"),): 0})
    assert game.video_size == (36, 36)
    pygame.quit()
