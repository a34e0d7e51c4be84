"""Copies of running environments."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from dreamzoo.common.env_state import load_env_state, save_env_state


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
