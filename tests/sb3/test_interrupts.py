"""Ctrl-C at the unluckiest moments leaves the process as it was, and the agent usable."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch as th

from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.planning import CEM
from tests.resuming import has_replay

ENTER = th.no_grad.__enter__


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    before = th.get_num_threads()
    yield
    th.set_grad_enabled(True)
    th.set_num_threads(before)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Interrupt when autograd has been switched off, and the block that leaves it has not begun."""

    def enter(self: th.no_grad) -> None:
        ENTER(self)
        th.set_num_threads(1)
        raise KeyboardInterrupt

    return lambda: monkeypatch.setattr(th.no_grad, "__enter__", enter)


def _calls(agent: Any) -> dict[str, Callable[[], Any]]:
    obs = np.zeros((2, 3), np.float32)
    calls = {
        "learn": lambda: agent.learn(8, reset_num_timesteps=False),
        "predict": lambda: agent.predict(obs),
        "plan": lambda: CEM(2, 1, 4, 2).plan(lambda actions: actions.sum((2, 3)), 1),
    }
    if hasattr(agent, "dream_env"):
        dream = DreamVectorEnv(agent, 2, horizon=3)
        dream.reset(seed=0)
        calls["dream.reset"] = lambda: dream.reset(seed=0)
        calls["dream.step"] = lambda: dream.step(dream.action_space.sample())
    if has_replay(agent):
        batch = agent.replay_buffer.sample(2)
        calls["replay_latents"] = agent.replay_latents
        calls["open_loop"] = lambda: open_loop(agent.policy, batch, 1)
    return {**calls, "building": lambda: agent._setup_model()}


@pytest.mark.parametrize("threads", [1, 2])
def test_autograd_and_threads_come_back(
    make_agent: Any, update: Any, interrupt: Callable[[], None], threads: int
) -> None:
    agent = make_agent().learn(24)
    calls = {"train": lambda: update(agent), **_calls(agent)}
    th.set_num_threads(threads)
    interrupt()
    for name, call in calls.items():
        with pytest.raises(KeyboardInterrupt):
            call()
        assert th.is_grad_enabled(), name
        assert th.get_num_threads() == threads, name


def test_learning_goes_on_after_an_interrupt(
    make_agent: Any, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent().learn(24)
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        agent.learn(8, reset_num_timesteps=False)
    monkeypatch.undo()
    updates, steps = agent._n_updates, agent.num_timesteps
    before = [p.clone() for p in agent.policy.parameters()]
    agent.learn(8, reset_num_timesteps=False)
    assert agent._n_updates > updates
    assert agent.num_timesteps == steps + 8
    assert any(not th.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))


def test_without_gradient_and_with_it_a_call_leaves_what_it_found(make_agent: Any) -> None:
    agent = make_agent().learn(24)
    with th.no_grad():
        agent.predict(np.zeros(3, np.float32))
        assert not th.is_grad_enabled()
