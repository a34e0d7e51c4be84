"""Atari games, played for real and compared with the emulator itself."""

from functools import partial
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from ale_py import roms
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from gymnasium.utils.seeding import np_random
from stable_baselines3 import DQN
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from dreamzoo.envs import DreamerAtariPreprocessing, make_atari


class Emulator:
    """A game played directly on the emulator, seeded as gymnasium's environment seeds it."""

    def __init__(self, game: str, seed: int, sticky: float, all_actions: bool) -> None:
        rng_seed, ale_seed = np.random.SeedSequence(seed).generate_state(2)
        self.ale = ale_py.ALEInterface()
        self.ale.setInt("random_seed", int(np.int32(ale_seed)))
        self.ale.setFloat("repeat_action_probability", sticky)
        self.ale.loadROM(roms.get_rom_path(game) or game)
        every, minimal = self.ale.getLegalActionSet(), self.ale.getMinimalActionSet()
        self.actions = every if all_actions else minimal
        self.ale.reset_game()
        for _ in range(np_random(int(rng_seed))[0].integers(31)):
            self.ale.act(ale_py.Action.NOOP)
        self.frames = [self.ale.getScreenRGB()]

    def step(self, action: int) -> float:
        """
        Play up to four frames.

        :param action: index of the action
        :return: sum of the rewards
        """
        reward = 0.0
        for _ in range(4):
            reward += self.ale.act(self.actions[action])
            self.frames = [*self.frames, self.ale.getScreenRGB()][-2:]
            if self.ale.game_over():
                break
        return reward

    def image(self, size: int, gray: bool) -> np.ndarray:
        """
        Compute the observation in floating point.

        :param size: height and width in pixels
        :param gray: one channel rather than three
        :return: (size, size, channels)
        """
        frame = np.max(self.frames, axis=0).astype(np.float64)  # (210, 160, 3)
        rows, columns = triangle_filter(210, size), triangle_filter(160, size)
        image = np.einsum("iy,jx,yxc->ijc", rows, columns, frame, optimize=True)
        return image @ np.array([[0.299], [0.587], [0.114]]) if gray else image


def triangle_filter(old: int, new: int) -> np.ndarray:
    """
    Return the matrix that resizes one axis, bilinear with antialiasing.

    :param old: number of pixels before
    :param new: number of pixels after, fewer
    :return: (new, old), rows sum to one
    """
    scale = old / new
    centers = (np.arange(new)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centers) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("protocol", "size", "gray", "sticky", "all_actions"),
    [("atari", 96, True, 0.25, True), ("atari100k", 64, False, 0.0, False)],
)
def test_game_equals_the_emulators_own(
    protocol: Any, size: int, gray: bool, sticky: float, all_actions: bool
) -> None:
    env = make_atari("ms_pacman", protocol=protocol)
    assert env.observation_space == spaces.Box(0, 255, (size, size, 1 if gray else 3), np.uint8)
    image, _ = env.reset(seed=5)
    emulator = Emulator("ms_pacman", 5, sticky, all_actions)
    assert env.action_space == spaces.Discrete(len(emulator.actions))
    env.action_space.seed(0)
    lives, score, terminated, step = set(), 0.0, False, 0
    while not terminated:
        if step % 20 == 0:  # the slow resize rounds once, Pillow twice, gray is rounded down
            np.testing.assert_allclose(image, emulator.image(size, gray), atol=2)
        action = int(env.action_space.sample())
        image, reward, terminated, truncated, info = env.step(action)
        assert reward == emulator.step(action)
        assert terminated == emulator.ale.game_over()
        assert not truncated
        lives.add(info["lives"])
        score += float(reward)
        step += 1
    np.testing.assert_allclose(image, emulator.image(size, gray), atol=2)
    assert lives == {0, 1, 2, 3}  # losing one of them ended nothing
    assert score >= 100


def test_action_sets() -> None:
    assert make_atari("pong").action_space == spaces.Discrete(18)
    assert make_atari("pong", protocol="atari100k").action_space == spaces.Discrete(6)


@pytest.mark.parametrize("game", ["ms_pacman", "MsPacman", "ALE/MsPacman-v5"])
def test_name_in_any_spelling(game: str) -> None:
    spec = make_atari(game).spec
    assert spec is not None
    assert spec.id == "ALE/MsPacman-v5"


@pytest.mark.filterwarnings("ignore:.*unwrapped version")  # said of every wrapped environment
@pytest.mark.parametrize("protocol", ["atari", "atari100k"])
def test_passes_the_checkers(protocol: Any) -> None:
    env = make_atari("breakout", protocol=protocol)
    check_gymnasium_env(env, skip_render_check=True)  # a window needs a display
    check_sb3_env(env)


def test_noops_are_uniform_and_repeat_with_the_seed() -> None:
    def noops(seed: int, episodes: int) -> list[int]:
        env = make_atari("pong", seed=seed)
        return [env.reset()[1]["episode_frame_number"] for _ in range(episodes)]

    counts = noops(0, 200)
    assert set(range(31)) >= set(counts) >= {0, 30}
    assert abs(np.mean(counts) - 15) < 3 * 9 / np.sqrt(200)
    assert counts[:5] == noops(0, 5) != noops(1, 5)


def test_cap_of_frames_terminates() -> None:
    raw = gym.make("ALE/Pong-v5", frameskip=1, max_num_frames_per_episode=None)
    env = DreamerAtariPreprocessing(raw, max_frames=42)
    for _ in range(2):
        env.reset(seed=0)
        ends = [env.step(0)[2:4] for _ in range(11)]
        assert ends == [(False, False)] * 10 + [(True, False)]


def test_emulator_must_not_skip_frames() -> None:
    with pytest.raises(ValueError, match="frameskip=1"):
        DreamerAtariPreprocessing(gym.make("ALE/Pong-v5"))


def test_render_shows_the_console() -> None:
    env = make_atari("pong", render_mode="rgb_array", seed=0)
    env.reset()
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (210, 160, 3)
    assert env.metadata["render_fps"] == 15


def test_sub_processes_play() -> None:
    env = make_vec_env(partial(make_atari, "pong"), n_envs=2, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        first = env.reset()
        assert isinstance(first, np.ndarray)
        assert first.shape == (2, 96, 96, 1)
        assert env.step(np.zeros(2, np.int64))[1].shape == (2,)
    finally:
        env.close()


def test_sb3_learns() -> None:
    env = make_atari("pong", protocol="atari100k")
    DQN("CnnPolicy", env, buffer_size=16, learning_starts=4).learn(8)
