"""Every observation and action space of SB3, trained on."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import SimpleMultiObsEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage
from stable_baselines3.common.vec_env import is_vecenv_wrapped as is_wrapped


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
    "colour": ("CnnPolicy", image(64, 64, 3)),
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


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_dicts_need_their_own_policy(make_agent: Any, make_env: Any, policy: str) -> None:
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        make_agent(make_env(spaces.Dict(MIXED)), policy)


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
    ],
)
def test_other_actions_are_refused(
    make_agent: Any, make_env: Any, space: spaces.Space, reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        make_agent(make_env(BOX, space))


def test_integer_boxes_are_stored_as_they_were_taken(make_agent: Any, make_env: Any) -> None:
    env = make_env(action_space=spaces.Box(-5, 5, (2,), np.int32))
    agent = make_agent(env, gradient_steps=0)
    agent.learn(9)
    stored = agent.replay_buffer.actions[:9, 0]
    assert len(np.unique(np.clip(stored, -1, 1))) > 3
    np.testing.assert_array_equal(np.rint(5 * np.clip(stored, -1, 1)), env.actions)


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
