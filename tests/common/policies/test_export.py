"""An exported step of acting gives what ``predict`` gives."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import AGENTS, PlaNet
from dreamzoo.nn.fast.switch import Form, use
from tests.facts import WORLD_MODELS
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 36, 40), np.uint8)
BOOL: Any = bool  # gymnasium annotates no space of these
BOARD = spaces.Box(0, 1, (5, 9, 2), BOOL)
DICT = spaces.Dict(
    image=IMAGE,
    vector=spaces.Box(-2.0, 2.0, (2, 2), np.float64),
    kind=spaces.Discrete(3, start=-1),
    kinds=spaces.MultiDiscrete([2, 3]),
    flags=spaces.MultiBinary(2),
    is_first=spaces.Box(-1.0, 1.0, (1,), np.float32),  # a name that the graph has for its own
)
LOW, HIGH = np.array([-3, 0.5], np.float32), np.array([1, 9], np.float32)
CASES = {
    "dict-box": ("MultiInputPolicy", DICT, spaces.Box(LOW, HIGH)),
    "image-box": ("CnnPolicy", IMAGE, spaces.Box(LOW, HIGH)),
    "board-discrete": ("CnnPolicy", BOARD, spaces.Discrete(3, start=2)),
    "vector-multidiscrete": ("MlpPolicy", VECTOR, spaces.MultiDiscrete([3, 2], start=[1, -1])),
}
OTHER_CASES = {"vector-box": ("MlpPolicy", VECTOR, spaces.Box(LOW, HIGH))}

#: What the exporter and the tracer say about themselves and to whoever wants another batch size.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning"),
]


def _agent(
    policy: str,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    name: str = "dreamer_v3",
    **policy_kwargs: Any,
) -> Any:
    """An agent whose actions depend on what it sees and remembers."""
    env = RandomEnv(observation_space, action_space)
    settings: dict[str, Any] = dict(TINY[name], policy_kwargs=TINY_POLICY[name] | policy_kwargs)
    kind: Any = AGENTS[name]
    agent = kind(policy, env, seed=0, **settings)
    generator = th.Generator().manual_seed(0)
    for p in agent.policy.parameters():
        p.data += 0.4 * th.randn(p.shape, generator=generator)
    return agent


def _observe(space: spaces.Space, rows: int) -> Any:
    members = [space.sample() for _ in range(rows)]
    if isinstance(space, spaces.Dict):
        return {name: np.stack([member[name] for member in members]) for name in space.spaces}
    return np.stack(members)


def _slow(*case: Any) -> Any:
    """Mark what is like another case, since the exporter takes its time."""
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "case", "policy_kwargs"),
    [
        ("dreamer_v3", "dict-box", {}),
        *(_slow("dreamer_v3", case, {}) for case in CASES if case != "dict-box"),
        # What these have of their own: a mode that is searched, a GRU, images that are resized.
        ("dreamer_v1", "dict-box", {}),
        ("dreamer_v2", "board-discrete", {}),
        # Latents without noise: the most likely classes, the nearest codes.
        _slow("dreamer_v2", "vector-multidiscrete", {"latents": "gumbel"}),
        ("dreamer_v2", "vector-multidiscrete", {"latents": "vq"}),
        # Memories of many parts, two of which begin as one tensor; with rows and without them.
        ("merlin", "vector-box", {}),
        ("rl_lstm", "vector-box", {}),
    ],
)
def test_twenty_steps_equal_predict(
    name: str, case: str, policy_kwargs: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    policy, observation_space, action_space = (CASES | OTHER_CASES)[case]
    agent = _agent(policy, observation_space, action_space, name, **policy_kwargs)
    agent.policy.set_training_mode(True)
    agent.export_onnx(tmp_path / "agent")
    assert agent.policy.training
    assert [file.name for file in tmp_path.iterdir()] == ["agent.onnx"]
    session = ort.InferenceSession(tmp_path / "agent.onnx")
    rows, taken, state = 3, [], None
    names = agent.policy.memory.names
    assert len(set(names)) == len(names)
    if name in WORLD_MODELS:
        assert tuple(names) == ("deter", "stoch", "prev_action")
    memory = agent.policy.memory.zeros(rows)
    starts = np.ones(rows, bool)
    observation_space.seed(1)
    for t in range(20):
        obs = _observe(agent.observation_space, rows)
        parts = (
            {f"observation.{name}": x for name, x in obs.items()}
            if isinstance(obs, dict)
            else {"observation": obs}
        )
        inputs = {**parts, **dict(zip(names, memory, strict=True)), "is_first": starts}
        action, *memory = session.run(["action", *(f"next_{part}" for part in names)], inputs)
        expected, state = agent.predict(obs, state, starts, deterministic=True)
        assert action.dtype == expected.dtype
        assert action.shape == expected.shape
        assert all(a in agent.action_space for a in action)
        np.testing.assert_allclose(action, expected, rtol=1e-4, atol=1e-4)
        assert state is not None
        for part, same in zip(memory, state, strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-4, atol=1e-4)
        taken.append(action)
        starts = np.array([False, t == 7, t == 12])
    assert len(np.unique(np.array(taken).reshape(20 * rows, -1), axis=0)) > 1
    (alone,) = session.run(  # any number of rows
        ["action"], {name: np.asarray(x)[:1] for name, x in inputs.items()}
    )
    np.testing.assert_allclose(alone, action[:1], rtol=1e-4, atol=1e-4)


class _Act(th.nn.Module):
    """As Stable-Baselines3's guide to exporting has it."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: th.Tensor) -> th.Tensor:
        return self.policy._predict(obs, deterministic=True)


def _trace(act: th.nn.Module, obs: th.Tensor) -> Callable[[th.Tensor], th.Tensor]:
    return th.jit.trace(act, obs)


def _export(act: th.nn.Module, obs: th.Tensor) -> Callable[[th.Tensor], th.Tensor]:
    return th.export.export(act, (obs,)).module()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("record", [_trace, _export], ids=["trace", "export"])
@pytest.mark.parametrize("form", ["fast", "torch"])
@pytest.mark.parametrize("gradient", [True, False])
def test_a_recorded_policy_chooses_the_same_actions(
    record: Any, form: Form, gradient: bool
) -> None:
    act = _Act(_agent("MlpPolicy", VECTOR, spaces.Box(-1, 1, (2,))).policy)
    with th.set_grad_enabled(gradient), use(form):
        recorded = record(act, th.zeros(5, 3))
        seen = 3 * th.randn(4, 5, 3, generator=th.Generator().manual_seed(1))
        results = [act(obs) for obs in seen]
        for obs, expected in zip(seen, results, strict=True):
            th.testing.assert_close(recorded(obs), expected)
    assert not th.allclose(results[0], results[1])  # the input matters


def test_plans_are_refused(tmp_path: pathlib.Path) -> None:
    agent = PlaNet("MlpPolicy", RandomEnv(), policy_kwargs=TINY_POLICY["planet"], **TINY["planet"])
    obs = th.zeros(1, *agent.observation_space.shape)  # type: ignore[misc]
    for refused in (
        lambda: agent.export_onnx(tmp_path / "agent.onnx"),
        lambda: th.jit.trace(_Act(agent.policy), obs),
        lambda: th.export.export(_Act(agent.policy), (obs,)),
    ):
        with pytest.raises(NotImplementedError, match=r"planned cannot be traced or exported"):
            refused()
    assert not list(tmp_path.iterdir())
    assert agent.predict(obs.numpy())[0].shape == (1, 2)
