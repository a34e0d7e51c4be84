"""Every observation and action space of SB3, trained on."""

from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage
from stable_baselines3.common.vec_env import is_vecenv_wrapped as is_wrapped

from dreamzoo.planning import CEM, CEMPlanner
from tests.sb3.conftest import of_models
from tests.sb3.stored import actions_of


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
MIXED = {
    "vector": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "small": image(36, 36, 1),
    "large": image(64, 64, 3),
    "number": spaces.Discrete(4, start=1),
    "numbers": spaces.MultiDiscrete([2, 3]),
    "flags": spaces.MultiBinary([3, 2]),
}

OBSERVATIONS: dict[str, tuple[str, spaces.Space]] = {
    "box-0d": ("MlpPolicy", spaces.Box(-1.0, 1.0, (), np.float32)),
    "box-1d": ("MlpPolicy", BOX),
    "box-2d": ("MlpPolicy", spaces.Box(-1.0, 1.0, (3, 2), np.float32)),
    "float64": ("MlpPolicy", spaces.Box(-1.0, 1.0, (2,), np.float64)),
    "int64": ("MlpPolicy", spaces.Box(-9, 9, (2,), np.int64)),
    "discrete": ("MlpPolicy", spaces.Discrete(5)),
    "discrete-from-7": ("MlpPolicy", spaces.Discrete(5, start=7)),
    "multi-discrete": ("MlpPolicy", spaces.MultiDiscrete([4, 3])),
    "multi-binary": ("MlpPolicy", spaces.MultiBinary(8)),
    "multi-binary-2d": ("MlpPolicy", spaces.MultiBinary([3, 2])),
    "flattened-image": ("MlpPolicy", image(36, 36, 1)),
    "gray": ("CnnPolicy", image(36, 36, 1)),
    "two-channels": ("CnnPolicy", image(40, 40, 2)),
    "color": ("CnnPolicy", image(64, 64, 3)),
    "channels-first": ("CnnPolicy", image(3, 64, 64)),
    "not-square": ("CnnPolicy", image(41, 60, 3)),
    "dict": ("MultiInputPolicy", spaces.Dict(MIXED)),
    "dict-of-vectors": ("MultiInputPolicy", spaces.Dict({"a": BOX, "b": BOX})),
}

ACTIONS: dict[str, spaces.Space] = {
    "box": BOX,
    "asymmetric": spaces.Box(np.array([-3.0, 0.0]), np.array([1.0, 10.0]), dtype=np.float32),
    "box-2d": spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    "float64": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "discrete": spaces.Discrete(3),
    "discrete-from-minus-1": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "multi-binary": spaces.MultiBinary(4),
}


def train(agent: Any, space: spaces.Space) -> None:
    """Update once or twice, then act both on one observation and on a batch."""
    agent.learn(16)
    assert agent._n_updates > 0
    for deterministic in (True, False):
        action, _ = agent.predict(space.sample(), deterministic=deterministic)
        assert agent.action_space.contains(action)
        assert action.dtype == agent.action_space.dtype
    assert len(agent.predict(agent.env.reset())[0]) == agent.n_envs


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observation_spaces(make_agent: Any, make_env: Any, name: str) -> None:
    policy, space = OBSERVATIONS[name]
    train(make_agent(make_env(space), policy), space)


@pytest.mark.parametrize("name", ACTIONS)
def test_action_spaces(make_agent: Any, make_env: Any, name: str) -> None:
    # The environment itself refuses what is no member of its space.
    train(make_agent(make_env(BOX, ACTIONS[name])), BOX)


def test_channels_are_moved_to_the_front(make_agent: Any, make_env: Any) -> None:
    last = make_agent(make_env(image(36, 36, 1)), "CnnPolicy")
    first = make_agent(make_env(image(1, 36, 36)), "CnnPolicy")
    assert is_wrapped(last.get_env(), VecTransposeImage)
    assert not is_wrapped(first.get_env(), VecTransposeImage)
    assert last.observation_space.shape == first.observation_space.shape == (1, 36, 36)


def test_stacked_images(make_agent: Any, make_env: Any) -> None:
    env = VecFrameStack(DummyVecEnv([lambda: make_env(image(36, 36, 3))]), 4)
    train(make_agent(env, "CnnPolicy"), env.observation_space)


@pytest.mark.parametrize("order", ["first", "last"])
def test_stacked_dicts(make_agent: Any, order: str) -> None:
    def make() -> gym.Env:
        return SimpleMultiObsEnv(discrete_actions=False, channel_last=order == "last")

    env = VecFrameStack(DummyVecEnv([make]), 3, {"vec": None, "img": order})  # type: ignore[dict-item]
    train(make_agent(env, "MultiInputPolicy"), env.observation_space)


def test_subclasses_of_spaces(make_agent: Any, make_env: Any) -> None:
    class MyBox(spaces.Box):
        pass

    space = MyBox(-1.0, 1.0, (2,), np.float32)
    train(make_agent(make_env(space, space)), space)


def test_dicts_of_images_need_their_own_policy(make_agent: Any, make_env: Any) -> None:
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        make_agent(make_env(spaces.Dict(MIXED)), "CnnPolicy")


def test_vectors_are_no_images(make_agent: Any) -> None:
    with pytest.raises(AssertionError, match="MlpPolicy"):
        make_agent(policy="CnnPolicy")


def test_nested_dicts_are_refused(make_agent: Any, make_env: Any) -> None:
    nested = spaces.Dict({"a": BOX, "b": spaces.Dict({"c": BOX})})
    with pytest.raises(NotImplementedError, match="Nested"):
        make_agent(make_env(nested), "MultiInputPolicy")


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), "finite"),
        (spaces.Tuple([BOX, BOX]), "only supports"),
        (spaces.MultiBinary([2, 3]), "Multi-dimensional MultiBinary"),
        (spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])), "Multi-dimensional MultiDiscrete"),
    ],
)
def test_other_actions_are_refused(
    make_agent: Any, make_env: Any, space: spaces.Space, reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        make_agent(make_env(BOX, space))


def test_a_box_of_no_action_is_refused(make_agent: Any, make_env: Any) -> None:
    with pytest.raises(ValueError, match="has no action"):
        make_agent(make_env(BOX, spaces.Box(-1, 1, (0,), np.float32)))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-5, 5, np.int32),
        (-100, 100, np.int8),
        (-128, 127, np.int8),
        (-30_000, 30_000, np.int16),
        (-(2**31), 2**31 - 1, np.int32),
        (-(2**63), 2**63 - 1, np.int64),
        (0, 255, np.uint8),
        (0, 2**64 - 1, np.uint64),
        (-40_000, 40_000, np.float16),
    ],
)
def test_environment_replay_and_dream_agree_on_actions(
    make_agent: Any, make_env: Any, still: Any, low: int, high: int, dtype: Any
) -> None:
    """The environment gets what is learned from, in its units, and a dream reads that back."""
    bounds = np.array([low] * 2, dtype), np.array([high] * 2, dtype)
    space = spaces.Box(*bounds, dtype=dtype)
    env = make_env(action_space=space, length=100)
    agent = make_agent(env, **still(10))
    # Rewards are as large as actions: nothing is learned from them.
    agent.learn(11, callback=lambda *_: agent.num_timesteps < 10)
    stored = np.clip(actions_of(agent).astype(np.float64), -1, 1)
    assert len(np.unique(stored)) > 3
    taken = np.stack(env.actions)[: len(stored)]
    assert taken.dtype == dtype
    # Halves of float16 and, beyond 2^53, of float64 are coarser than whole numbers.
    coarse = np.spacing(dtype(high)) if dtype is np.float16 else 2 * np.spacing(high - low * 1.0)
    tolerance = max(0.5, float(coarse))
    for u, action in zip(stored.flat, taken.flat, strict=True):
        exact = Fraction(low) + (Fraction(u) + 1) / 2 * (high - low)
        assert abs(Fraction(action.item()) - exact) <= tolerance
    read = agent.policy.action_codec.from_env(taken)
    np.testing.assert_allclose(read, stored, rtol=0, atol=2 * tolerance / (high - low))
    actors = [agent]
    if hasattr(agent, "dream_env"):
        dream = agent.dream_env(1)
        dream.reset()
        dream.step(taken[:1])
        actors.append(CEMPlanner(agent, CEM(2, 1, 6, 2)))
    for actor in actors:
        actions, _ = actor.predict(np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3))
        assert all(action in space for action in actions)
        assert len(np.unique(actions)) > 3


def test_sb3s_names_for_scaling_do_not_overflow_either(make_agent: Any, make_env: Any) -> None:
    policy = make_agent(make_env(action_space=spaces.Box(-100, 100, (2, 2), np.int8))).policy
    unit = np.array([[[-1.0, 0.5], [0.0, 1.0]]])
    action = policy.unscale_action(unit)
    assert action.tolist() == [[[-100, 50], [0, 100]]]
    assert action.dtype == np.int8
    np.testing.assert_array_equal(policy.scale_action(action), unit)


@of_models
def test_an_action_of_one_value_only_leaves_the_dream_finite(
    make_agent: Any, make_env: Any
) -> None:
    fixed = spaces.Box(np.array([-1, 0.5], np.float32), np.array([1, 0.5], np.float32))
    agent = make_agent(make_env(action_space=fixed)).learn(20)
    dream = agent.dream_env(2)
    dream.reset()
    obs, reward, _, _ = dream.step(np.stack([fixed.sample() for _ in range(2)]))
    assert np.isfinite(obs).all()
    assert np.isfinite(reward).all()
