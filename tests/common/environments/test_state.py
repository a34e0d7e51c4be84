"""Copies of running environments."""

import ctypes
import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import EzPickle
from gymnasium.wrappers import AddRenderObservation, TransformObservation
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecMonitor,
    VecNormalize,
)

from dreamzoo.common.environments.state import load_env_state, save_env_state
from dreamzoo.envs import make_atari, make_dmc


def _run(env: VecEnv, steps: int) -> list[np.ndarray]:
    out = []
    for i in range(steps):
        obs, reward, done, _ = env.step(np.full(env.num_envs, i % 2))
        out.append(np.concatenate([np.asarray(obs).ravel(), reward, done]))
    return out


def _make(wrapped: bool) -> VecEnv:
    env: VecEnv = make_vec_env("CartPole-v1", n_envs=2, seed=1)
    return VecNormalize(env) if wrapped else env


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_restored_environment_goes_on_as_the_original(wrapped: bool) -> None:
    """Across episode ends too: the random stream of resets is part of the state."""
    env, other = _make(wrapped), _make(wrapped)
    env.reset()
    other.reset()
    _run(env, 13)
    state = save_env_state(env)
    assert state is not None
    load_env_state(other, state)
    np.testing.assert_array_equal(_run(env, 60), _run(other, 60))


#: Reacher and swimmer move their target in the model itself; pixels are rendered from the restored
#: physics.
SUITE = [
    ("reacher", "easy", {"flatten": True}),
    ("walker", "walk", {"flatten": True}),
    ("swimmer", "swimmer6", {"flatten": True}),
    ("finger", "spin", {"pixels": True, "render_quality": "fast", "size": 32}),
]


@pytest.mark.parametrize(("domain", "task", "settings"), SUITE)
def test_a_task_of_the_suite_goes_on_as_the_original(
    domain: str, task: str, settings: dict[str, Any]
) -> None:
    """To the bit, and across the end of an episode, whose next one is random."""

    def make(seed: int) -> VecEnv:
        return make_vec_env(
            partial(make_dmc, domain, task, action_repeat=40, **settings), seed=seed
        )

    env, other = make(1), make(2)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 1, *(env.action_space.shape or ())))

    def run(env: VecEnv, chosen: np.ndarray) -> list[np.ndarray]:
        steps = [env.step(action.astype(np.float32)) for action in chosen]
        return [np.concatenate([np.asarray(obs).ravel(), reward]) for obs, reward, _, _ in steps]

    env.reset()
    other.reset()
    run(env, actions[:15])
    state = save_env_state(env)
    assert state is not None
    assert len(state["state"]) < 2e6
    load_env_state(other, state)
    np.testing.assert_array_equal(run(env, actions), run(other, actions))


@pytest.mark.parametrize("protocol", ["atari", "atari100k"])
def test_a_game_goes_on_as_the_original(protocol: Literal["atari", "atari100k"]) -> None:
    """
    Random repetition, the two frames of the last step and the no-ops of the next game included.

    The emulator does not tell which action a sticky first frame would repeat; here it is none.
    """

    def make(seed: int) -> VecEnv:
        return make_vec_env(partial(make_atari, "pong", protocol=protocol), seed=seed)

    env, other = make(1), make(2)
    actions = np.random.default_rng(0).integers(6, size=(60, 1))
    env.reset()
    other.reset()
    for action in [*actions, np.zeros(1, int)]:
        env.step(action)
    state = save_env_state(env)
    assert state is not None
    load_env_state(other, state)
    ours, theirs = ([e.step(a) for a in actions] for e in (env, other))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:] == two[1:]
    np.testing.assert_array_equal(env.reset(), other.reset())


def test_the_copy_does_not_follow_the_original() -> None:
    env, other = _make(False), _make(False)
    env.reset()
    state = save_env_state(env)
    first = _run(env, 9)
    assert state is not None
    load_env_state(other, state)
    np.testing.assert_array_equal(first, _run(other, 9))


def test_environments_that_pickle_as_their_arguments_are_not_copied() -> None:
    class _EzEnv(gym.utils.EzPickle, gym.Wrapper):
        def __init__(self, env: gym.Env) -> None:
            gym.utils.EzPickle.__init__(self, env)
            gym.Wrapper.__init__(self, env)

    assert save_env_state(DummyVecEnv([lambda: _EzEnv(gym.make("CartPole-v1"))])) is None


class _Reads(gym.Wrapper):
    """Rewards with what it reads off the environment itself."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.cartpole: Any = env.unwrapped

    def step(self, action: Any) -> Any:
        obs, _, *rest = self.env.step(action)
        return obs, float(self.cartpole.state[0]), *rest


def _observes(env: gym.Env) -> gym.Env:
    cartpole: Any = env.unwrapped
    return TransformObservation(
        env, lambda _: np.array(cartpole.state, np.float32), env.observation_space
    )


class _Own(gym.Env):
    """Keeps another environment and its own state under names that libraries use, too."""

    def __init__(self, inner: str = "CartPole-v1") -> None:
        self.env = gym.make(inner)
        self.observation_space = spaces.Box(-np.inf, np.inf, (6,))
        self.action_space = self.env.action_space
        self.screen, self.clock, self.viewer = np.zeros(1), 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.screen, self.clock = np.zeros(1), 0
        return self._see(self.env.reset(seed=seed)[0]), {}

    def step(self, action: Any) -> Any:
        self.clock += 1
        self.screen += 0.5
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._see(obs), reward, terminated, truncated, info

    def _see(self, obs: np.ndarray) -> np.ndarray:
        return np.concatenate([obs[:4], self.screen, [self.clock]]).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _Reads(gym.make("CartPole-v1")),
        lambda: _observes(gym.make("CartPole-v1")),
        lambda: AddRenderObservation(gym.make("CartPole-v1", render_mode="rgb_array")),
        _Own,
    ],
    ids=["attribute", "lambda", "render", "own"],
)
def test_what_refers_to_an_environment_refers_to_the_restored_one(
    make: Callable[[], gym.Env],
) -> None:
    env, other = DummyVecEnv([make, make]), DummyVecEnv([make, make])
    env.seed(1)
    env.reset()
    other.reset()
    _run(env, 7)
    state = save_env_state(env)
    assert state is not None
    load_env_state(other, state)
    for _ in range(12):  # one step at a time: frames are large
        np.testing.assert_array_equal(_run(env, 1), _run(other, 1))


def _with(attribute: Any) -> gym.Env:
    env = gym.make("CartPole-v1")
    env.unwrapped.extra = attribute  # type: ignore[attr-defined]
    return env


@pytest.mark.parametrize(
    "make",
    [
        lambda: _with(ctypes.pointer(ctypes.c_int(1))),
        lambda: _with(multiprocessing.Queue()),
        lambda: _with(_EzInner()),
    ],
    ids=["pointer", "queue", "constructor's arguments"],
)
def test_environments_that_cannot_be_copied_begin_new_episodes(make: Callable[[], gym.Env]) -> None:
    assert save_env_state(DummyVecEnv([make])) is None


class _EzInner(_Own, EzPickle):
    """Pickles as its arguments: its state would be lost."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_vec_env("CartPole-v1", n_envs=3), "2 environments, now 3"),
        (lambda: VecMonitor(_make(False)), "DummyVecEnv, now VecMonitor around DummyVecEnv"),
        (lambda: make_vec_env(lambda: _Reads(gym.make("CartPole-v1")), 2), "now Monitor around _R"),
        (lambda: SubprocVecEnv([lambda: gym.make("CartPole-v1")] * 2), "now SubprocVecEnv"),
    ],
    ids=["number", "VecEnv", "wrapper", "processes"],
)
def test_a_state_of_other_environments_is_refused(make: Callable[[], VecEnv], message: str) -> None:
    env, other = _make(False), make()
    env.reset()
    state = save_env_state(env)
    assert state is not None
    with pytest.raises(ValueError, match=message):
        load_env_state(other, state)
    other.close()


def test_a_state_of_an_earlier_version_is_refused() -> None:
    with pytest.raises(ValueError, match="earlier version"):
        load_env_state(_make(False), {"envs": [b"", b""], "wrappers": b""})


def test_a_state_that_cannot_be_read_changes_nothing() -> None:
    env = _make(False)
    env.reset()
    state = save_env_state(env)
    assert state is not None
    state["state"] = b"nothing that was compressed"
    other = _make(False)
    other.seed(7)
    other.reset()
    before = [np.array(single.unwrapped.state) for single in other.envs]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cannot be read"):
        load_env_state(other, state)
    after = [single.unwrapped.state for single in other.envs]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(before, after)
