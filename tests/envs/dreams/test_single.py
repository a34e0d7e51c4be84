"""One dream as a gymnasium environment."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.play import PlayableGame
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3.policies import MlpPolicy
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from tests.envs.dreams.conftest import (
    BOX,
    DISCRETE,
    IMAGE,
    MIXED,
    VECTOR,
    Toy,
    make_agent,
)
from tests.rewriting import rewrite


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


class OwnPolicy(MlpPolicy):
    """A policy with a network of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = th.nn.Linear(2, 2)


class OwnAgent(DreamerV3):
    """An agent of a user's own, whose policy gets other arguments."""

    def _policy_kwargs(self) -> dict[str, Any]:
        return {**super()._policy_kwargs(), "net_arch": [7]}


@pytest.mark.parametrize("policy", ["MlpPolicy", OwnPolicy])
@pytest.mark.parametrize("kind", [DreamerV3, OwnAgent])
def test_a_file_is_loaded_as_what_it_was_saved_by(
    kind: type[DreamerV3], policy: str | type[MlpPolicy], tmp_path: Path
) -> None:
    agent = kind(policy, Toy(VECTOR, DISCRETE), policy_kwargs=dict(size="debug"))
    agent.save(tmp_path / "agent")
    if policy is OwnPolicy:  # a class of the author's own: its file names it and brings it along
        with pytest.raises(ValueError, match=r"policy_class \(ABCMeta\) as code of its author"):
            DreamEnv(tmp_path / "agent")
        given = {"policy_class": OwnPolicy}
        loaded = kind.load(tmp_path / "agent", custom_objects=given)
    else:
        loaded = DreamEnv(tmp_path / "agent").dream.model
    assert type(loaded) is kind
    for one, other in zip(agent.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(one, other)


def test_a_class_that_is_nowhere_to_be_found_is_named(tmp_path: Path) -> None:
    agent = OwnAgent("MlpPolicy", Toy(VECTOR, DISCRETE), policy_kwargs=dict(size="debug"))
    agent.save(tmp_path / "saved")
    rewrite(tmp_path / "saved.zip", tmp_path / "lost", {}, {"agent": "own.agents:Lost"})
    with pytest.raises(ValueError, match=r"class Lost of own\.agents.*DreamEnv\(Lost\.load"):
        DreamEnv(tmp_path / "lost")
    again = DreamEnv(OwnAgent.load(tmp_path / "lost")).dream.model
    again.save(tmp_path / "again")  # by its own name, not by that of the file it came from
    assert type(DreamEnv(tmp_path / "again").dream.model) is OwnAgent


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
