"""Every agent on MinAtar, MiniGrid and other small images: learning, acting, files, dreams."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TransformAction

from dreamzoo import AGENTS
from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.figures import image_frames, image_keys
from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.envs import make_env
from dreamzoo.testing import CHECKS, Case, RandomEnv
from tests.facts import HAS_MODEL, HAS_REPLAY

BOOL: Any = bool  # gymnasium annotates no space of these
FLOATS = dict(normalize_images=False)
#: What is seen, and what a policy has to be told about it.
BOARDS: dict[str, tuple[spaces.Box, dict[str, Any]]] = {
    "least": (spaces.Box(0, 1, (3, 3, 1), BOOL), {}),
    "cube": (spaces.Box(0, 1, (10, 10, 10), BOOL), {}),
    "bytes": (spaces.Box(0, 255, (7, 7, 3), np.uint8), {}),
    "float": (spaces.Box(-1, 1, (5, 9, 2), np.float32), FLOATS),
    "categories": (spaces.Box(0, 10, (3, 7, 7), np.uint8), FLOATS),
}
SUITES = {"minatar": "minatar/breakout", "minigrid": "minigrid/MemoryS7"}


def _push(size: int, action: np.ndarray) -> int:
    """Choose one of some actions by a number from -1 to 1."""
    return min(int((float(action[0]) + 1) / 2 * size), size - 1)


def _make_env(agent: str, board: str) -> gym.Env:
    kind: Any = AGENTS[agent]
    discrete = spaces.Discrete in kind.action_spaces
    push = spaces.Box(-1.0, 1.0, (1,), np.float32)
    if board in BOARDS:
        actions: Any = spaces.Discrete(3) if discrete else push
        return RandomEnv(BOARDS[board][0], actions, 8)
    pytest.importorskip(board, reason=f"needs the package {board}")
    env = make_env(SUITES[board])
    if discrete:
        return env
    size = int(env.action_space.n)  # type: ignore[attr-defined]
    return TransformAction(env, partial(_push, size), push)


def _case(agent: str, board: str, policy: str = "CnnPolicy") -> Case:
    kind: Any = AGENTS[agent]
    told = BOARDS[board][1] if board in BOARDS else {}
    networks = {**kind.smallest.get("policy_kwargs", {}), **told}
    make: Callable[[], gym.Env] = partial(_make_env, agent, board)
    fewer = {"train_ratio": 2.0} if agent in HAS_REPLAY else {}
    return Case(kind, make, policy, **{**kind.smallest, **fewer, "policy_kwargs": networks})


@pytest.mark.parametrize("board", ["minatar", "bytes"])
@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_agents_learn_act_and_are_loaded_again(agent: str, board: str, tmp_path: Any) -> None:
    case = _case(agent, board)
    model: Any = case.learn(case.make())
    assert model._n_updates > 0
    obs = case.observations(3)
    actions, _ = model.predict(obs, deterministic=True)
    model.save(tmp_path / "agent")
    again, _ = type(model).load(tmp_path / "agent").predict(obs, deterministic=True)
    np.testing.assert_array_equal(actions, again)


@pytest.mark.parametrize("board", ["minigrid", "least", "float", "categories"])
@pytest.mark.parametrize("agent", HAS_MODEL)
def test_dreams_and_open_loops_of_boards(agent: str, board: str) -> None:
    model: Any = _case(agent, board).trained
    space = model.observation_space
    dream = model.dream_env(n_envs=2, horizon=5, render_mode="rgb_array")
    assert dream.observation_space == space
    obs = dream.reset()
    for _ in range(3):
        assert obs.dtype == space.dtype
        assert all(space.contains(row) for row in obs)
        obs, *_ = dream.step(np.stack([dream.action_space.sample() for _ in range(2)]))
    (key,) = model.policy.observation_codec.keys
    assert dream.get_images()[0].shape[:2] == tuple(
        n * (64 // max(key.shape[1:])) for n in key.shape[1:]
    )
    batch = model.recorded_sequences(np.random.default_rng(0), 2, 4)
    shown = open_loop(model.policy, batch, 2)
    assert shown.prediction.shape == shown.truth.shape  # type: ignore[union-attr]
    assert shown.prediction.dtype == shown.truth.dtype  # type: ignore[union-attr]
    frames = image_frames(shown, image_keys(model.policy.observation_codec)[0])
    assert (frames.shape[:2], frames.dtype) == ((4, 3), np.uint8)


@pytest.mark.parametrize("agent", HAS_MODEL)
def test_a_dream_of_a_board_is_compared_with_it(agent: str) -> None:
    model: Any = _case(agent, "minatar").trained
    found = compare_with_dream(model, model, model.get_env(), horizon=3)
    assert np.isfinite(found.observation_error).all()


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_a_board_in_a_dict_is_read_as_one_alone(agent: str) -> None:
    """The same weights, the same actions; other parts of the Dict have networks of their own."""
    board = BOARDS["cube"][0]
    kind: Any = AGENTS[agent]
    discrete = spaces.Discrete in kind.action_spaces
    actions: Any = spaces.Discrete(3) if discrete else spaces.Box(-1.0, 1.0, (1,))
    alone = kind("CnnPolicy", RandomEnv(board, actions), seed=0, **kind.smallest)
    both = kind(
        "MultiInputPolicy", RandomEnv(spaces.Dict(b=board), actions), seed=0, **kind.smallest
    )
    convolutions = [
        [m.weight for m in agent.policy.modules() if isinstance(m, th.nn.Conv2d)]
        for agent in (alone, both)
    ]
    assert convolutions[0]
    assert [w.shape for w in convolutions[0]] == [w.shape for w in convolutions[1]]


#: Promises in which what is seen plays a part.
PROMISES = [
    "predict_takes_one_and_many",
    "observations_of_wrong_shapes_are_refused",
    "observations_of_nan_are_refused",
    "a_policy_is_saved_alone",
    "resuming_is_exact",
    "dreams_are_environments",
]


@pytest.mark.parametrize("check", PROMISES)
@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_contract_on_a_board(agent: str, check: str) -> None:
    case = _case(agent, "float")
    if why := CHECKS[check].why_not(case):
        pytest.skip(why)
    CHECKS[check](case)
