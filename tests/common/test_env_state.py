"""Copies of running environments."""

from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from dreamzoo.common.env_state import load_env_state, save_env_state
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
    assert sum(map(len, state["envs"])) < 2e6
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


def test_a_state_of_another_number_of_environments_is_refused() -> None:
    env = _make(False)
    env.reset()
    state = save_env_state(env)
    assert state is not None
    with pytest.raises(ValueError, match="2 environments in a DummyVecEnv"):
        load_env_state(make_vec_env("CartPole-v1", n_envs=3), state)
