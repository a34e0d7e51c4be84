"""The DeepMind Control Suite, played for real."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from dreamzoo.envs import make_dmc

make_pixels = partial(make_dmc, pixels=True, render_quality="fast")
# What gymnasium's checker says of every wrapped environment, and of every unbounded one.
checked = pytest.mark.filterwarnings("ignore:.*(unwrapped version|infinity)")


def test_state_is_a_dictionary_of_vectors() -> None:
    env = make_dmc("walker", "walk")
    assert isinstance(env.observation_space, spaces.Dict)
    shapes = {key: space.shape for key, space in env.observation_space.items()}
    assert shapes == {"height": (1,), "orientations": (14,), "velocity": (9,)}
    assert all(space.dtype == np.float32 for space in env.observation_space.values())
    assert env.action_space == spaces.Box(-1, 1, (6,), np.float32)
    assert env.reset(seed=0)[0] in env.observation_space


def test_matrices_in_the_state_become_vectors() -> None:
    env = make_dmc("manipulator", "bring_ball")
    assert isinstance(env.observation_space, spaces.Dict)
    assert env.observation_space["arm_pos"].shape == (16,)
    assert env.reset(seed=0)[0] in env.observation_space


@checked
@pytest.mark.parametrize("kwargs", [{}, {"flatten": True}])
def test_state_passes_the_checkers(kwargs: dict[str, Any]) -> None:
    env = make_dmc("cartpole", "swingup", **kwargs)
    check_gymnasium_env(env, skip_render_check=True)  # a window needs a display
    check_sb3_env(env)


@checked
def test_pixels_pass_the_checkers() -> None:
    env = make_pixels("cartpole", "swingup")
    check_gymnasium_env(env)
    check_sb3_env(env)


def test_pixels_are_an_image_that_torch_takes() -> None:
    env = make_pixels("cheetah", "run", size=48, seed=0)
    assert env.observation_space == spaces.Box(0, 255, (48, 48, 3), np.uint8)
    image = env.step(env.action_space.sample())[0]
    assert th.from_numpy(image).float().std() > 10
    np.testing.assert_array_equal(env.render(), image)


@pytest.mark.parametrize(("repeat", "steps"), [(1, 1000), (2, 500), (3, 334)])
def test_episode_is_truncated_after_1000_steps(repeat: int, steps: int) -> None:
    env = make_dmc("pendulum", "swingup", action_repeat=repeat, seed=0)
    env.reset()
    for step in range(1, steps + 1):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated
        assert truncated == (step == steps)


def test_repeat_sums_the_suites_own_rewards() -> None:
    import dm_control.suite

    env = make_dmc("cheetah", "run", action_repeat=4, seed=7)
    env.reset(seed=7)
    suite_env = dm_control.suite.load("cheetah", "run", task_kwargs={"random": 7})
    suite_env.reset()
    env.action_space.seed(0)
    for _ in range(20):
        action = env.action_space.sample()
        obs, reward, *_ = env.step(action)
        steps = [suite_env.step(action.astype(np.float64)) for _ in range(4)]
        assert reward == pytest.approx(sum(step.reward for step in steps), abs=1e-12)
        for key, value in steps[-1].observation.items():
            np.testing.assert_allclose(obs[key], np.ravel(value), rtol=1e-6, atol=1e-6)


def test_actions_reach_the_bounds_of_the_simulator() -> None:
    env = make_dmc("stacker", "stack_2", seed=0)
    env.reset()
    env.step(np.ones(5, np.float32))
    bounds: Any = env.unwrapped
    np.testing.assert_allclose(bounds.physics.control(), bounds.action_spec().maximum)


def test_seed_repeats_the_episodes() -> None:
    def positions(seed: int) -> list[np.ndarray]:
        env = make_dmc("reacher", "easy", flatten=True, seed=seed)
        return [env.reset()[0] for _ in range(2)]

    first, second = positions(3)
    np.testing.assert_array_equal(positions(3), [first, second])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, positions(4)[0])


def test_default_camera_follows_the_quadruped() -> None:
    default, second, ground = (
        make_pixels("quadruped", "walk", seed=0, camera_id=camera).reset(seed=0)[0]
        for camera in (None, 2, 0)
    )
    np.testing.assert_array_equal(default, second)
    assert not np.array_equal(default, ground)


def test_fast_quality_shows_the_same_scene() -> None:
    paper = make_dmc("walker", "walk", pixels=True).reset(seed=0)[0].astype(int)
    fast = make_pixels("walker", "walk").reset(seed=0)[0].astype(int)
    assert 0 < np.abs(paper - fast).mean() < 20


def test_video_runs_at_the_speed_of_the_world() -> None:
    assert make_dmc("walker", "walk").metadata["render_fps"] == 20  # 0.025 s a step, repeated twice


def test_sub_processes_render() -> None:
    env = make_vec_env(
        partial(make_pixels, "cartpole", "swingup"), n_envs=2, seed=0, vec_env_cls=SubprocVecEnv
    )
    try:
        first = env.reset()
        assert isinstance(first, np.ndarray)
        assert first.shape == (2, 64, 64, 3)
        assert not np.array_equal(first[0], first[1])
        _, rewards, dones, _ = env.step(np.zeros((2, 1), np.float32))
        assert rewards.shape == (2,)
        assert not dones.any()
    finally:
        env.close()


def test_sb3_learns_from_the_state() -> None:
    SAC("MultiInputPolicy", make_dmc("cartpole", "balance"), learning_starts=4).learn(8)
