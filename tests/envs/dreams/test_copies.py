"""What a dream shares with others, and what is its own: spaces, copies, tensors."""

import copy
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVecEnv, DreamVectorEnv, VectorEnvToVecEnv
from tests.envs.dreams.conftest import BOX, DISCRETE, MIXED, VECTOR, Toy, make_agent

Copy = Callable[[Any], Any]


def all_spaces(dream: Any) -> list[spaces.Space]:
    """List the spaces that users of a dream see."""
    names = ("observation_space", "action_space")
    if isinstance(dream, DreamVectorEnv):
        return [getattr(dream, f"single_{name}") for name in names]
    return [getattr(dream, name) for name in names]


def test_spaces_belong_to_one_dream(agent: DreamerV3) -> None:
    dreams = [DreamEnv(agent), DreamVectorEnv(agent), DreamVecEnv(agent)]
    everyone = [agent, *dreams]
    objects = [space for owner in everyone for space in all_spaces(owner)]
    assert len({id(space) for space in objects}) == len(objects)
    for dream in dreams:
        assert all_spaces(dream) == all_spaces(agent)


def test_seeding_a_dream_leaves_the_real_environment_alone() -> None:
    real = gym.make("CartPole-v1")
    agent = DreamerV3("MlpPolicy", real, policy_kwargs=dict(size="debug"), buffer_size=10)

    def draw(space: spaces.Space) -> list[int]:
        return [int(space.sample()) for _ in range(20)]

    real.action_space.seed(7)
    expected = draw(real.action_space)
    real.action_space.seed(7)
    PPO("MlpPolicy", agent.dream_env(2), seed=3, n_steps=8, batch_size=8)
    one, other = DreamEnv(agent), DreamEnv(agent)
    for dream in (one, other):
        dream.action_space.seed(3)
    assert draw(one.action_space) == draw(other.action_space) != expected
    assert draw(real.action_space) == expected


def test_a_wrapper_changes_the_spaces_of_what_it_wraps_only() -> None:
    """VecNormalize writes to the Dict of the VecEnv below."""
    agent = make_agent(MIXED, BOX, steps=0)
    VecNormalize(agent.dream_env(2), norm_obs_keys=["image"])
    inner = DreamVectorEnv(agent, 2)
    VecNormalize(VectorEnvToVecEnv(inner), norm_obs_keys=["image"])
    for space in (agent.observation_space, inner.single_observation_space):
        assert space["image"].dtype == np.uint8  # type: ignore[index]


def unroll(dream: Any, steps: int = 8) -> list[np.ndarray]:
    """Step a dream of either face, with actions from its own space; return what it says."""
    seen: list[Any] = []
    for _ in range(steps):
        if isinstance(dream, DreamVecEnv):
            actions = np.array([dream.action_space.sample() for _ in range(dream.num_envs)])
            obs, reward, done, _ = dream.step(actions)
            seen += [obs, reward, done]
        else:
            obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
            seen += [obs, reward, terminated, truncated, info["latent"]]
            if isinstance(terminated, bool) and (terminated or truncated):
                seen.append(dream.reset()[0])
    return [np.asarray(part) for part in seen]


MAKERS: dict[str, Callable[[DreamerV3], Any]] = {
    "single": lambda agent: DreamEnv(agent, horizon=5),
    "wrapped": lambda agent: TimeLimit(DreamEnv(agent), 5),
    "vector": lambda agent: DreamVectorEnv(agent, 3, horizon=5, sample_reward=True),
    "replay": lambda agent: DreamVectorEnv(agent, 3, horizon=5, start="replay"),
    "sb3": lambda agent: agent.dream_env(3, horizon=5),
}


@pytest.mark.parametrize(
    ("name", "how"),
    # A shallow copy of gymnasium's wrapper is another face of the same dream.
    [(name, copy.deepcopy) for name in MAKERS]
    + [(name, copy.copy) for name in MAKERS if name != "wrapped"],
)
def test_a_copy_goes_on_with_the_same_numbers_on_its_own(
    agent: DreamerV3, name: str, how: Copy
) -> None:
    dream = MAKERS[name](agent)
    if isinstance(dream, DreamVecEnv):
        dream.seed(5)
        dream.reset()
    else:
        dream.reset(seed=5)
    dream.action_space.seed(1)
    unroll(dream, 3)
    first, second = how(dream), how(dream)
    inner = dream.unwrapped if isinstance(dream, DreamVectorEnv) else dream.unwrapped.dream
    copied = first.unwrapped if isinstance(first, DreamVectorEnv) else first.unwrapped.dream
    assert copied is not inner
    assert copied.model is agent
    assert copied.policy is agent.policy
    expected = unroll(first)
    for other in (dream, second):  # what the first did has changed neither
        for a, b in zip(expected, unroll(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_copy_keeps_its_context(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 2, horizon=2, termination=None)
    context = {"observations": np.ones((2, 3, 3), np.float32), "actions": np.ones((2, 2), int)}
    dream.reset(seed=0, options={"context": context})
    begin = dream.latent.feat
    copied = copy.deepcopy(dream)
    dream.reset(options={"context": None})
    for _ in range(2):
        copied.step(np.ones(2, int))
    assert th.equal(copied.latent.feat, begin)


def test_a_copy_before_the_first_reset(agent: DreamerV3) -> None:
    dream = DreamEnv(agent)
    np.testing.assert_array_equal(copy.copy(dream).reset(seed=1)[0], dream.reset(seed=1)[0])


def test_copying_leaves_a_training_as_it_is(tmp_path: Path) -> None:
    """Files do not copy, nor do locks and the pipes to other processes."""
    env = Toy(VECTOR, DISCRETE)
    env.lock = threading.Lock()  # type: ignore[attr-defined]
    agent = DreamerV3(
        "MlpPolicy",
        env,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=4,
        train_ratio=1,
        tensorboard_log=str(tmp_path),
    ).learn(20)
    dream = DreamEnv(agent)
    dream.reset(seed=0)
    assert copy.deepcopy(dream).dream.model is agent
    assert agent.learn(10, reset_num_timesteps=False).num_timesteps == 30


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_the_spec_of_a_live_agents_dream_shares_the_agent(make: Any) -> None:
    """SB3's Monitor and gymnasium's wrappers copy it."""
    env = Toy(VECTOR, DISCRETE)
    env.lock = threading.Lock()  # type: ignore[attr-defined]
    agent = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"), buffer_size=10)
    dream = make("dreamzoo/DreamEnv-v0", model=agent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dream.spec is not None
        again = make(copy.deepcopy(dream.spec))
    inner = again.unwrapped if make is gym.make_vec else again.unwrapped.dream
    assert inner.model is agent


@pytest.mark.parametrize("name", MAKERS)
def test_pickling_is_refused_with_the_remedy(agent: DreamerV3, name: str) -> None:
    with pytest.raises(TypeError, match=r"DreamEnv\('model.zip'"):
        pickle.dumps(MAKERS[name](agent))


def test_a_dream_goes_on_outside_of_inference_mode(agent: DreamerV3) -> None:
    actions = np.ones(3, int)
    reset = {"reset_mask": th.tensor([True, False, False])}

    def run(*inside: bool) -> list[th.Tensor]:
        with th.inference_mode(inside[0]):
            dream = DreamVectorEnv(agent, 3, horizon=4)
        with th.inference_mode(inside[1]):
            dream.reset(seed=0)
        for part in inside[2:]:
            with th.inference_mode(part):
                obs, reward, *_ = dream.step(actions)
                dream.reset(options=reset)
        assert not any(part.is_inference() for part in (*dream.latent, dream._moment.age, reward))
        assert not any(part.requires_grad for part in (*dream.latent, reward))
        assert isinstance(obs, th.Tensor)
        return [obs, reward, dream.latent.feat]

    expected = run(False, False, False, False, False)
    for inside in [(True,) * 4 + (False,), (False, False, True, False, True), (True,) * 5]:
        assert all(th.equal(a, b) for a, b in zip(expected, run(*inside), strict=True))


def test_what_was_handed_out_never_changes(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 3, horizon=3, render_mode="rgb_array")
    context = {"observations": np.ones((1, 2, 3), np.float32), "actions": np.ones((1, 1), int)}
    handed: list[th.Tensor] = []

    def keep(value: Any) -> None:
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, th.Tensor):
                handed.append(part)
            elif isinstance(part, (dict, tuple)):
                keep(part)

    keep(dream.reset(seed=0, options={"context": context}))
    for _ in range(4):
        keep(dream.step(np.ones(3, int)))
        keep((dream.latent,))
    before = [part.clone() for part in handed]
    keep(dream.reset(options={"reset_mask": th.tensor([True, False, True])}))
    dream.step(np.ones(3, int))
    dream.reset()
    assert all(th.equal(a, b) for a, b in zip(before, handed, strict=False))
    # Nor does the dream change with what was handed out.
    begin = dream.latent.feat
    for part in dream.latent:
        part.zero_()
    dream.reset()
    assert th.equal(dream.latent.feat, begin)
    _, reward, *_ = dream.step(np.ones(3, int))
    frame = dream.render()
    reward.fill_(5.0)
    for a, b in zip(frame or (), dream.render() or (), strict=True):
        np.testing.assert_array_equal(a, b)
