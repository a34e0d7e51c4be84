"""The precision of products is a setting of every agent; torch's own switches stay the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from dreamzoo.envs import DreamVectorEnv
from dreamzoo.nn.fast import precision
from dreamzoo.nn.fast.precision import current, has_bf16
from dreamzoo.planning import CEM, CEMPlanner
from dreamzoo.testing.random_env import VECTOR
from tests.facts import HAS_MODEL, HAS_REPLAY, Facts

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor multiplies no bf16")


def switches() -> list[str]:
    if precision._get is None:
        return [th.get_float32_matmul_precision()]
    keys = [(backend, op) for backend in ("cuda", "mkldnn") for op in ("matmul", "conv", "all")]
    return [th.get_float32_matmul_precision(), *(precision._get(*key) for key in keys)]


@pytest.fixture(params=["highest", "medium"])
def before(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What torch's switches are at, as the user has set them."""
    untouched = precision._read()
    th.set_float32_matmul_precision(request.param)
    yield switches()
    precision._write(*untouched)


class Look(BaseCallback):
    """Sees the user's switches, not the agent's."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[str]] = []

    def _on_step(self) -> bool:
        assert current() == "fp32"
        self.seen.append(switches())
        return True


@pytest.mark.parametrize("name", ["fp32", "tf32", pytest.param("bf16", marks=needs_bf16)])
def test_torch_is_as_it_was_after_every_call(
    make_agent: Any,
    agent_name: str,
    update: Any,
    before: list[str],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = {"learning_starts": 8} if agent_name in HAS_REPLAY else {"n_steps": 7}
    agent = make_agent(precision=name, **begin)
    meant = precision.resolve(name, "cpu")
    used: dict[str, set[str]] = {}

    def spy(owner: Any, method: str) -> None:
        function = getattr(owner, method)

        def noted(*args: Any, **kwargs: Any) -> Any:
            used.setdefault(method, set()).add(current())
            assert precision._is_set(meant, "cpu") or precision._get is None
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, method, noted)

    expected = {"_learn_from", "choose"}
    spy(agent, "_learn_from")
    spy(agent.policy, "choose")
    if agent_name in HAS_MODEL:
        model = {"observe", "imagine_step", "decode"}
        model |= {"observe_sequence"} if agent_name in HAS_REPLAY else set()
        expected |= model
        for method in model:
            spy(agent.policy.world_model, method)
    look = Look()
    agent.learn(14, callback=look)
    assert look.seen == [before] * 14
    update(agent)
    agent.predict(np.zeros(3, np.float32))
    if agent_name in HAS_MODEL:
        CEMPlanner(agent, CEM(2, 1, 4, 2)).predict(np.zeros(3, np.float32))
        start: Any = "replay" if agent_name in HAS_REPLAY else "initial"
        dreams = DreamVectorEnv(agent, 2, start=start, render_mode="rgb_array")
        dreams.reset(seed=0)
        dreams.step(dreams.action_space.sample())
        dreams.render()
    assert switches() == before
    assert set(used) == expected
    assert set().union(*used.values()) == {meant}


def test_it_is_saved_and_may_be_changed(make_agent: Any, agent_class: Any, tmp_path: Path) -> None:
    agent = make_agent(precision="tf32")
    agent.save(tmp_path / "agent")
    loaded = agent_class.load(tmp_path / "agent")
    assert (loaded.precision, loaded.policy.precision) == ("tf32", "tf32")
    loaded = agent_class.load(tmp_path / "agent", precision="fp32")
    assert (loaded.precision, loaded.policy.precision) == ("fp32", "fp32")
    agent.precision = "fp32"
    agent.learn(1)
    assert agent.policy.precision == "fp32"


def test_a_file_of_an_earlier_version_has_the_default(
    make_agent: Any, agent_class: Any, tmp_path: Path
) -> None:
    agent = make_agent()
    assert agent.precision == "auto"
    agent.save(tmp_path / "agent", exclude=["precision"])
    assert agent_class.load(tmp_path / "agent").policy.precision == "auto"


def test_a_processor_without_bf16_is_told_apart(
    make_agent: Any, agent_class: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_agent(precision="fp32").save(tmp_path / "agent")
    precision._resolve.cache_clear()
    monkeypatch.setattr(precision, "_has_bf16", lambda kind: False)
    with pytest.raises(ValueError, match=r"multiplies no bf16\. Use precision='fp32'"):
        make_agent(precision="bf16")
    with pytest.raises(ValueError, match="multiplies no bf16"):
        agent_class.load(tmp_path / "agent", precision="bf16")
    agent = make_agent()
    agent.precision = "bf16"
    with pytest.raises(ValueError, match="multiplies no bf16"):
        agent.learn(1)
    precision._resolve.cache_clear()


@pytest.mark.parametrize(
    ("device", "name"),
    [
        pytest.param("cpu", "bf16", marks=needs_bf16),
        pytest.param("cuda", "tf32", marks=pytest.mark.gpu),
        pytest.param("cuda", "bf16", marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_losses_of_a_rounded_update_are_nearly_those_in_fp32(
    make_agent: Any,
    make_env: Any,
    agent_name: str,
    facts: Facts,
    update: Any,
    policy: str,
    device: str,
    name: str,
) -> None:
    space = spaces.Box(0, 255, (64, 64, 3), np.uint8) if policy == "CnnPolicy" else VECTOR
    before, losses = switches(), {}
    sizes: dict[str, Any] = dict(n_steps=8, learning_rate=0.0)
    if agent_name in HAS_REPLAY:
        sizes = dict(batch_size=4, batch_length=8, gradient_steps=0, learning_starts=11)
    for each in ("fp32", name):
        agent = make_agent(
            make_env(space),
            policy,
            device=device,
            precision="fp32",  # collect the same in both
            **sizes,
            policy_kwargs=dict(facts.usual),
        )
        agent.learn(40)
        agent.precision = each
        update(agent)
        assert switches() == before
        losses[each] = dict(agent.logger.name_to_value)
        assert all(p.dtype is th.float32 for p in agent.policy.parameters())
        assert all(p.grad is None or p.grad.dtype is th.float32 for p in agent.policy.parameters())
    exact, rounded = losses["fp32"], losses[name]
    names = [key for key in exact if key.endswith("_loss")]
    assert names
    for key in names:
        assert rounded[key] == pytest.approx(exact[key], rel=0.02, abs=0.02), key
    assert any(rounded[key] != exact[key] for key in names)
