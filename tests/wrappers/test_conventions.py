"""What gymnasium and dreams expect of every wrapper."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dreamzoo import wrappers

SINGLE: dict[str, tuple[str, Callable[[gym.Env], gym.Env]]] = {
    "discount": ("CartPole-v1", wrappers.EpisodeDiscount),
    "discount_seen": (
        "CartPole-v1",
        lambda env: wrappers.EpisodeDiscount(env, 0.9, add_to_observation=True),
    ),
    "normalize": ("Pendulum-v1", wrappers.NormalizeAction),
    "one_hot": ("CartPole-v1", wrappers.OneHotAction),
    "previous": ("Pendulum-v1", wrappers.PreviousActionReward),
    "previous_discrete": ("CartPole-v1", wrappers.PreviousActionReward),
    "repeat": ("CartPole-v1", lambda env: wrappers.RepeatAction(env, 2)),
    "staggered": ("CartPole-v1", lambda env: wrappers.StaggeredStart(env, 30)),
    "symlog_observation": ("CartPole-v1", wrappers.SymlogObservation),
    "symlog_reward": ("CartPole-v1", wrappers.SymlogReward),
    "tanh_reward": ("CartPole-v1", wrappers.TanhReward),
    "torch": ("Pendulum-v1", lambda env: wrappers.TorchToNumpy(wrappers.NumpyToTorch(env))),
}
VECTOR: dict[str, Callable[[Any], Any]] = {
    "discount": lambda env: wrappers.vector.EpisodeDiscount(env, add_to_observation=True),
    "normalize": wrappers.vector.NormalizeAction,
    "previous": wrappers.vector.PreviousActionReward,
    "symlog_observation": wrappers.vector.SymlogObservation,
    "symlog_reward": wrappers.vector.SymlogReward,
    "tanh_reward": wrappers.vector.TanhReward,
    "one_hot": wrappers.vector.OneHotAction,
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.filterwarnings("ignore")
def test_the_checkers_of_gymnasium_and_sb3_pass(name: str) -> None:
    env_id, wrap = SINGLE[name]
    check_env(wrap(gym.make(env_id)), skip_render_check=True)
    sb3_check_env(wrap(gym.make(env_id)), skip_render_check=True)


@pytest.mark.parametrize("name", SINGLE)
def test_a_wrapped_environment_can_be_made_from_its_spec(name: str) -> None:
    env_id, wrap = SINGLE[name]
    env = wrap(gym.make(env_id))
    assert env.spec is not None
    other = gym.make(env.spec)
    assert other.spec == env.spec
    assert (str(other), other.observation_space) == (str(env), env.observation_space)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_alike(toy: Any, name: str, clone: Callable[[Any], Any]) -> None:
    env_id, wrap = SINGLE[name]
    env = wrap(gym.make(env_id))
    env.action_space.seed(0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    other, action = clone(env), env.action_space.sample()
    assert other.observation_space == env.observation_space
    assert other.action_space == env.action_space
    for some, two in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
        toy.assert_same(toy.as_numpy(some), toy.as_numpy(two))


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("name", VECTOR)
def test_copies_of_batches_go_on_alike(toy: Any, name: str, xp: Any) -> None:
    space = spaces.Discrete(3) if name == "one_hot" else toy.BOX
    env = VECTOR[name](toy.ToyVectorEnv(xp=xp, action_space=space))
    env.reset(seed=0)
    action = xp.asarray(env.action_space.sample())
    env.step(action)
    other = pickle.loads(pickle.dumps(env))
    toy.assert_same(
        [toy.as_numpy(x) for x in env.step(action)[:4]],
        [toy.as_numpy(x) for x in other.step(action)[:4]],
    )


@pytest.mark.parametrize("xp", [np, th])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", VECTOR)
def test_observations_of_batches_are_in_their_space(
    toy: Any, name: str, mode: AutoresetMode, xp: Any
) -> None:
    space = spaces.Discrete(3) if name == "one_hot" else toy.BOX
    env = VECTOR[name](toy.ToyVectorEnv(xp=xp, mode=mode, action_space=space, composed=True))
    assert toy.as_numpy(env.reset(seed=0)[0]) in env.observation_space
    for _ in range(20):
        obs, *_ = env.step(xp.asarray(env.action_space.sample()))
        assert toy.as_numpy(obs) in env.observation_space


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("name", [*VECTOR, "repeat"])
def test_no_step_waits_for_the_device(
    toy: Any, name: str, composed: bool, mode: AutoresetMode, device: str
) -> None:
    # Tensors on the meta device have no values: whoever asks for one fails.
    space = spaces.Discrete(3) if name == "one_hot" else toy.BOX
    options = dict(xp=th, action_space=space, composed=composed, device=device)
    if name == "repeat":
        inner = toy.ToyVectorEnv(mode=AutoresetMode.DISABLED, **options)
        env = wrappers.vector.RepeatAction(inner, 3)
    else:
        env = VECTOR[name](toy.ToyVectorEnv(mode=mode, **options))
    env.reset(seed=0)
    action = th.as_tensor(env.action_space.sample(), device=device)
    mask = th.ones(env.num_envs, dtype=th.bool, device=device)
    env.step(action)  # constants go to the device once
    if device == "cuda":
        th.cuda.set_sync_debug_mode("error")
    try:
        env.reset(options={"reset_mask": mask})
        for _ in range(3):
            env.step(action)
    finally:
        if device == "cuda":
            th.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", VECTOR)
def test_nothing_more_is_asked_of_the_environment_and_nothing_drawn(toy: Any, name: str) -> None:
    space = spaces.Discrete(3) if name == "one_hot" else toy.BOX
    env = VECTOR[name](toy.ToyVectorEnv(xp=th, action_space=space))
    action = th.as_tensor(env.action_space.sample())
    states = th.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    env.reset(seed=0)
    env.step(action)
    env.step(action)
    assert env.unwrapped.calls == ["reset", "step", "step"]
    assert th.equal(states[0], th.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()  # type: ignore[index]


def test_wrappers_stack(toy: Any) -> None:
    def stack(env: Any) -> Any:
        env = wrappers.vector.RepeatAction(wrappers.vector.NormalizeAction(env), 2)
        env = wrappers.vector.PreviousActionReward(wrappers.vector.SymlogReward(env))
        return wrappers.vector.EpisodeDiscount(env, add_to_observation=True)

    options = dict(mode=AutoresetMode.DISABLED, composed=True)
    in_torch = stack(toy.ToyVectorEnv(xp=th, **options))
    assert set(in_torch.single_observation_space.spaces) == {
        *("choice", "image", "vector"),
        *("previous_action", "previous_reward", "discount"),
    }
    expected = toy.rollout(stack(toy.ToyVectorEnv(**options)))
    toy.assert_same(expected, toy.rollout(in_torch, torch=True))
    toy.assert_same(expected, toy.rollout(wrappers.vector.TorchToNumpy(in_torch)))
