"""What dreams take for an action: what the real environment takes, in every face of a dream."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVecEnv, DreamVectorEnv
from tests.envs.dreams.conftest import VECTOR, make_agent

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
FLOATS = [np.float16, np.float32, np.float64]
SPACES = {
    "discrete": spaces.Discrete(3, start=1),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
    "box": spaces.Box(-100, 100, (2,), np.int8),
}


@pytest.fixture(scope="module")
def agents() -> dict[str, DreamerV3]:
    return {name: make_agent(VECTOR, space, steps=4) for name, space in SPACES.items()}


def samples(space: spaces.Space, n: int) -> np.ndarray:
    return np.stack([space.sample() for _ in range(n)])


def take_one_by_one(env: DreamEnv, actions: Any) -> None:
    env.reset(seed=0)
    for action in actions:
        env.step(action)


def latents(agent: DreamerV3, actions: Any) -> Iterator[np.ndarray]:
    """Dream a step after the same actions in every face, and tell where that leads."""
    vector = DreamVectorEnv(agent, len(actions), details=False)
    vector.reset(seed=0)
    vector.step(actions)
    yield vector.latent.feat.numpy()
    vec = DreamVecEnv(agent, len(actions))
    vec.seed(0)
    vec.reset()
    vec.step(actions)
    yield vec.dream.latent.feat.numpy()
    for action in actions:
        single = DreamEnv(agent, details=False)
        single.reset(seed=0)
        single.step(action)
        yield single.dream.latent.feat.numpy()
    steps = [actions, actions]
    context = {
        "observations": np.zeros((len(actions), 3, 3), np.float32),
        "actions": th.stack(steps, 1) if isinstance(actions, th.Tensor) else np.stack(steps, 1),
    }
    vector.reset(seed=0, options={"context": context})
    yield vector.latent.feat.numpy()


@pytest.mark.parametrize("name", SPACES)
def test_all_forms_of_an_action_lead_to_the_same(agents: dict[str, DreamerV3], name: str) -> None:
    agent, space = agents[name], SPACES[name]
    space.seed(1)
    actions = np.abs(samples(space, 2))
    forms: list[Any] = [actions.astype(dtype) for dtype in INTEGERS]
    if name in ("box", "multi_binary"):
        forms += [actions.astype(dtype) for dtype in FLOATS]
    if name == "multi_binary":
        forms.append(actions.astype(bool))
    forms += [th.as_tensor(form) for form in forms] + [actions.tolist(), list(actions)]
    expected = list(latents(agent, actions))
    np.testing.assert_array_equal(expected[0], expected[1])
    for form in forms:
        np.testing.assert_equal(list(latents(agent, form)), expected)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("discrete", [1, 0]),
        ("discrete", [4, 1]),
        ("discrete", [1.0, 2.0]),
        ("multi_discrete", [[0, 0], [0, 3]]),
        ("multi_discrete", [[-1, 0], [0, 0]]),
        ("multi_discrete", [[0.0, 0.0], [0.0, 0.0]]),
        ("multi_binary", [[0, 0, 2], [0, 0, 0]]),
        ("multi_binary", [[0, 0.5, 0], [0, 0, 0]]),
        ("multi_binary", [[0, np.nan, 0], [0, 0, 0]]),
        ("box", [[0, np.nan], [0, 0]]),
        ("box", [[0, 0], [np.inf, 0]]),
        ("box", [[0, None], [0, 0]]),
        ("box", [["a", "b"], ["c", "d"]]),
        ("box", [[1j, 0], [0, 0]]),
        ("box", [[0, 0], [0]]),
    ],
)
def test_what_is_no_action_is_refused_in_every_face(
    agents: dict[str, DreamerV3], name: str, wrong: Any
) -> None:
    agent = agents[name]
    vector, vec = DreamVectorEnv(agent, 2), DreamVecEnv(agent, 2)
    vector.reset(seed=0)
    vec.reset()
    before = vector.latent.feat.clone()
    message = "not all in|is no array|not real|have the shape"
    for step in (vector.step, vec.step):
        with pytest.raises(ValueError, match=message):
            step(wrong)
    context = {"observations": np.zeros((1, 3, 3), np.float32), "actions": [wrong]}
    with pytest.raises(ValueError, match=message):
        vector.reset(options={"context": context})
    with pytest.raises(ValueError, match=message):
        take_one_by_one(DreamEnv(agent, termination=None), wrong)
    # Nothing is lost: the dream stands where it stood, and goes on.
    assert th.equal(vector.latent.feat, before)
    vector.step(samples(SPACES[name], 2))


def test_the_wrong_row_of_many_is_named(agents: dict[str, DreamerV3]) -> None:
    dream = DreamVectorEnv(agents["multi_discrete"], 1_024, details=False)
    dream.reset(seed=0)
    actions = np.zeros((1_024, 2), int)
    actions[700:] = 1, 5
    with pytest.raises(ValueError, match=r"MultiDiscrete\(\[2 3\]\): row 700 is \[1, 5\]"):
        dream.step(actions)
    context = {"observations": np.zeros((1, 3, 3), np.float32), "actions": [[[0, 0], [9, 0]]]}
    with pytest.raises(ValueError, match=r"context actions .* row \(0, 1\) is \[9, 0\]"):
        dream.reset(options={"context": context})


def test_no_loop_over_rows_checks_actions(agents: dict[str, DreamerV3]) -> None:
    """It took 7 to 24 ms for 1,024 rows; without a loop it is some dozens of microseconds."""
    for name, space in SPACES.items():
        dream = DreamVectorEnv(agents[name], 1_024, details=False)
        actions = samples(space, 1_024)
        times = []
        for _ in range(10):
            start = perf_counter()
            dream._to_model_action(actions)
            times.append(perf_counter() - start)
        assert min(times) < 1e-3


def test_binary_agents_of_stable_baselines3_learn_in_a_dream(
    agents: dict[str, DreamerV3],
) -> None:
    """They send float32."""
    model = PPO("MlpPolicy", agents["multi_binary"].dream_env(2), n_steps=8, batch_size=8)
    assert model.learn(16).num_timesteps == 16
