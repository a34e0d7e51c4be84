"""One wrapper, many forms: numpy and torch, single and batched, agree step by step."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from dreamzoo import wrappers

MODES = list(AutoresetMode)
BOX = spaces.Box(-2, 2, (2,), np.float32)
HALF = spaces.Box(np.array([-2, -np.inf], np.float32), np.array([4, np.inf], np.float32))
SHIFTED = spaces.Discrete(3, start=1)
MULTI = spaces.MultiDiscrete([2, 3], start=[0, 1])
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "symlog_observation": ("SymlogObservation", {}, {}),
    "symlog_dict": ("SymlogObservation", {}, {"composed": True}),
    "symlog_images": ("SymlogObservation", {"include_images": True}, {"composed": True}),
    "symlog_reward": ("SymlogReward", {}, {}),
    "tanh_reward": ("TanhReward", {}, {}),
    "discount": ("EpisodeDiscount", {"gamma": 0.9}, {}),
    "discount_seen": ("EpisodeDiscount", {"add_to_observation": True}, {}),
    "discount_dict": ("EpisodeDiscount", {"add_to_observation": True}, {"composed": True}),
    "normalize": ("NormalizeAction", {}, {"action_space": HALF}),
    "one_hot": ("OneHotAction", {}, {"action_space": SHIFTED}),
    "one_hots": ("OneHotAction", {}, {"action_space": MULTI}),
    "previous_box": ("PreviousActionReward", {}, {"action_space": BOX}),
    "previous_discrete": ("PreviousActionReward", {}, {"action_space": SHIFTED}),
    "previous_multi": ("PreviousActionReward", {}, {"action_space": MULTI, "composed": True}),
    "previous_binary": ("PreviousActionReward", {}, {"action_space": spaces.MultiBinary(3)}),
}


def single(case: str, env: gym.Env) -> gym.Env:
    name, kwargs, _ = CASES[case]
    return getattr(wrappers, name)(env, **kwargs)


def batched(case: str, env: gym.vector.VectorEnv) -> gym.vector.VectorEnv:
    name, kwargs, _ = CASES[case]
    return getattr(wrappers.vector, name)(env, **kwargs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_batches_in_numpy_and_torch_agree(toy: Any, case: str, mode: AutoresetMode) -> None:
    options = CASES[case][2]
    in_numpy = batched(case, toy.ToyVectorEnv(mode=mode, **options))
    in_torch = batched(case, toy.ToyVectorEnv(xp=th, mode=mode, **options))
    toy.assert_same(toy.rollout(in_numpy), toy.rollout(in_torch, torch=True))


@pytest.mark.parametrize("case", CASES)
def test_single_environments_in_numpy_and_torch_agree(toy: Any, case: str) -> None:
    def answers(xp: Any) -> list[Any]:
        env = single(case, toy.ToyEnv(xp=xp, **CASES[case][2]))
        env.action_space.seed(0)
        seen = [env.reset(seed=0)[0]]
        for _ in range(60):
            obs, reward, terminated, truncated, _ = env.step(xp.asarray(env.action_space.sample()))
            seen += [obs, reward, terminated, truncated]
            if terminated or truncated:
                seen.append(env.reset()[0])
        return [toy.as_numpy(x) for x in seen]

    toy.assert_same(answers(np), answers(th))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_single_and_batched_agree(toy: Any, case: str, mode: AutoresetMode) -> None:
    makers = [partial(toy.ToyEnv, row, **CASES[case][2]) for row in range(3)]
    inside = toy.sync([lambda m=make: single(case, m()) for make in makers], mode)
    outside = batched(case, toy.sync(makers, mode))
    native = batched(case, toy.ToyVectorEnv(mode=mode, **CASES[case][2]))
    assert inside.single_observation_space == outside.single_observation_space
    assert inside.observation_space == outside.observation_space == native.observation_space
    assert inside.action_space == outside.action_space
    expected = toy.rollout(inside)
    toy.assert_same(expected, toy.rollout(outside))
    toy.assert_same(expected, toy.rollout(native))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("env_id", "case"),
    [
        ("CartPole-v1", "symlog_reward"),
        ("CartPole-v1", "discount_seen"),
        ("CartPole-v1", "previous_discrete"),
        ("CartPole-v1", "one_hot"),
        ("Pendulum-v1", "symlog_observation"),
        ("Pendulum-v1", "normalize"),
        ("Pendulum-v1", "previous_box"),
    ],
)
def test_single_and_batched_agree_on_real_environments(
    toy: Any, env_id: str, case: str, mode: AutoresetMode
) -> None:
    makers = [partial(gym.make, env_id, max_episode_steps=20)] * 2
    inside = toy.sync([lambda m=make: single(case, m()) for make in makers], mode)
    outside = batched(case, toy.sync(makers, mode))
    toy.assert_same(toy.rollout(inside), toy.rollout(outside))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("repeats", [1, 3, 20])
def test_repeated_actions_agree(
    toy: Any, repeats: int, composed: bool, mode: AutoresetMode
) -> None:
    makers = [partial(toy.ToyEnv, row, composed=composed) for row in range(3)]
    expected = toy.rollout(
        toy.sync([lambda m=make: wrappers.RepeatAction(m(), repeats) for make in makers], mode)
    )
    for xp in (np, th):
        env = toy.ToyVectorEnv(xp=xp, mode=AutoresetMode.DISABLED, composed=composed)
        env = wrappers.vector.RepeatAction(env, repeats, autoreset_mode=mode)
        assert env.metadata["autoreset_mode"] is mode
        toy.assert_same(expected, toy.rollout(env, torch=xp is th))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("composed", [False, True])
def test_converted_environments_answer_the_same(
    toy: Any, composed: bool, mode: AutoresetMode
) -> None:
    def make(xp: Any) -> Any:
        return toy.ToyVectorEnv(xp=xp, mode=mode, composed=composed)

    expected = toy.rollout(make(np))
    to_numpy, to_torch = wrappers.vector.TorchToNumpy, wrappers.vector.NumpyToTorch
    toy.assert_same(expected, toy.rollout(to_numpy(make(th))))
    toy.assert_same(expected, toy.rollout(to_torch(make(np)), torch=True))
    toy.assert_same(expected, toy.rollout(to_numpy(to_torch(make(np)))))
