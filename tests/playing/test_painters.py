"""Observations are drawn as the environment would be that is observed like this."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TransformObservation

from dreamzoo.envs import make_env
from dreamzoo.playing.drawing import bars, smaller
from dreamzoo.playing.painters import find_painter

CLASSIC = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0"]
SUITE = [
    *("acrobot-swingup", "ball_in_cup-catch", "cartpole-two_poles", "cheetah-run", "hopper-stand"),
    *("pendulum-swingup", "point_mass-easy", "reacher-easy", "walker-walk"),
]


def _moved(env: gym.Env, steps: int) -> Any:
    obs, _ = env.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(steps):
        obs, *_ = env.step(env.action_space.sample())
    return obs


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_control_is_drawn_as_it_draws_itself(name: str) -> None:
    env = gym.make(name, render_mode="rgb_array")
    painter = find_painter(env, _moved(env, 0))
    assert painter is not None
    obs = _moved(env, 6)
    inner: Any = env.unwrapped
    inner.last_u = None  # an observation does not say with which torque it was reached
    own: Any = env.render()
    different = np.abs(painter(obs).astype(int) - own.astype(int)).max(-1) > 40
    assert different.mean() < 2e-3


@pytest.mark.parametrize("task", SUITE)
def test_tasks_of_dm_control_are_drawn_in_the_state_that_they_are_in(task: str) -> None:
    pytest.importorskip("dm_control")
    env = make_env(f"dmc/{task}", flatten=task.startswith("w"))
    painter: Any = find_painter(env, _moved(env, 3))
    assert painter is not None
    obs = _moved(env, 9)
    frame = painter(obs)
    inner: Any = env.unwrapped
    true, drawn = inner.physics, painter._env.physics
    if task[:4] in ("chee", "hopp", "walk"):  # they do not observe how far they have come
        drawn.named.data.qpos["rootx"] = true.named.data.qpos["rootx"]
        drawn.forward()
    np.testing.assert_allclose(drawn.data.geom_xpos, true.data.geom_xpos, atol=1e-4)
    assert frame.shape == (180, 240, 3)
    assert frame.std() > 5


def test_what_wrappers_have_changed_nobody_draws() -> None:
    env = gym.make("CartPole-v1")
    for change in (lambda x: 2 * x, lambda x: x[:2], lambda x: np.append(x, 0.0)):
        changed = TransformObservation(env, change, None)
        assert find_painter(changed, changed.reset(seed=0)[0]) is None
    assert find_painter(gym.make("Blackjack-v1"), (1, 2, 0)) is None


def test_bars_stand_above_and_below_their_line() -> None:
    frame = bars(np.array([1.0, -20.0, 0.0]))
    blue = (frame == (86, 156, 214)).all(-1)
    red = (frame == (224, 108, 92)).all(-1)
    assert blue[:80, :80].any()
    assert not blue[80:].any()
    assert not red[:80].any()
    assert red[81:, 85:150].sum() > blue.sum()
    assert not (blue | red)[:, 170:].any()


def test_large_frames_become_small_and_small_ones_stay() -> None:
    assert smaller(np.zeros((400, 600, 3), np.uint8)).shape == (200, 300, 3)
    frame = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert smaller(frame) is frame
