"""
Three updates of a small DreamerV3 against committed numbers, whose code agreed with the authors'.

``test_reference.py`` compares with the authors' own numbers, which are too large to be committed.
Everything here follows from formulas: parameters, batch, draws. After a change that is meant,
``PYTHONPATH=. python -m tests.dreamer_v3.test_drift`` writes ``drift.json`` anew.
"""

import json
import pathlib
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch, Windows
from dreamzoo.dreamer_v3 import get_size
from tests.dreamer_v3.draws import fix_draws

NUMBERS = pathlib.Path(__file__).with_name("drift.json")
ROWS, LENGTH, UPDATES, BINS = 4, 8, 3, 255
ACTIONS = {"continuous": spaces.Box(-1.0, 1.0, (2,)), "discrete": spaces.MultiDiscrete([3, 4])}


class _Env(gym.Env):
    observation_space = spaces.Dict(
        a=spaces.Box(-np.inf, np.inf, (5,)), b=spaces.Discrete(3), c=spaces.MultiBinary(2)
    )

    def __init__(self, kind: str) -> None:
        self.action_space = ACTIONS[kind]


def _waves(shape: tuple[int, ...], number: int) -> Tensor:
    """Numbers between -1 and 1 in which nothing repeats."""
    steps = np.arange(int(np.prod(shape)), dtype=np.float64)
    return th.as_tensor(np.sin(0.7 + 1.3 * number + 2.39996 * steps).reshape(shape)).float()


def _make_agent(kind: str) -> DreamerV3:
    agent = DreamerV3(
        "MultiInputPolicy",
        _Env(kind),
        learning_rate=1e-3,
        batch_size=ROWS,
        batch_length=LENGTH,
        horizon=5,
        buffer_size=1_000,
        free_nats=0.0,  # else the prior would have no gradient
        seed=0,
        device="cpu",
        policy_kwargs=dict(
            size=replace(get_size("debug"), bins=BINS), optimizer_kwargs=dict(warmup=2)
        ),
    )
    with th.no_grad():
        for number, parameter in enumerate(agent.policy.parameters()):
            waves = _waves(tuple(parameter.shape), number)
            if len(parameter) == BINS:  # the outer bins are huge, their logits must not be
                middle = (th.arange(BINS) - 140.0) / 10.0
                parameter.copy_(waves if parameter.dim() > 1 else waves - middle.square())
            elif parameter.dim() > 1:
                parameter.copy_(waves / parameter[0].numel() ** 0.5)
            else:  # bias or scale
                parameter.add_(0.1 * waves)
    return agent


def _batch(agent: DreamerV3) -> SequenceBatch:
    lead, dynamics = (ROWS, LENGTH), agent.policy.world_model.dynamics
    first, last = th.zeros(lead, dtype=th.bool), th.zeros(lead, dtype=th.bool)
    first[1, 0] = first[2, 4] = first[3, 7] = True
    last[2, 3] = last[3, 6] = last[0, 7] = True
    terminal = last.clone()
    terminal[3, 6] = False  # a time limit
    counts = th.arange(ROWS * LENGTH).view(lead)
    is_box = isinstance(agent.action_space, spaces.Box)
    actions = _waves((*lead, 2), 50) * 1.5 if is_box else th.stack([counts % 3, counts % 4], -1)
    rewards = 3.0 * _waves(lead, 51)
    rewards[1, 5] = 300.0
    return SequenceBatch(
        observations={
            "a": 10.0 * _waves((*lead, 5), 52),
            "b": (counts * 2) % 3,
            "c": th.stack([counts % 2, counts // 3 % 2], -1).to(th.int8),
        },
        actions=th.where(first[..., None], th.zeros_like(actions), actions),
        rewards=th.where(first, 0.0, rewards),
        is_first=first,
        is_last=last,
        is_terminal=terminal,
        latents={
            "deter": _waves((ROWS, dynamics.deter), 53),
            "stoch": (th.arange(ROWS * dynamics.stoch) % dynamics.classes)
            .view(ROWS, -1)
            .to(th.uint8),
        },
        windows=Windows(np.zeros(ROWS, int), np.arange(ROWS) * (LENGTH + 1) + 1),
    )


def _numbers(kind: str) -> dict[str, dict[str, float]]:
    """Return the terms of the loss, and the size of every gradient and every parameter."""
    agent = _make_agent(kind)
    batch, found = _batch(agent), {}
    assert agent.replay_buffer is not None
    agent.replay_buffer._count[:] = 500  # its records are all there
    for update in range(UPDATES):
        metrics = agent._update(batch)
        found[f"metrics {update}"] = {k: v.float().mean().item() for k, v in metrics.items()}
        if update == 0:
            found["gradients"] = {
                name: p.grad.norm().item()
                for name, p in agent.policy.named_parameters()
                if p.grad is not None
            }
    found["parameters"] = {name: p.norm().item() for name, p in agent.policy.named_parameters()}
    return found


@pytest.mark.parametrize("kind", ACTIONS)
def test_updates_give_the_committed_numbers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_draws(monkeypatch)
    expected: dict[str, Any] = json.loads(NUMBERS.read_text())[kind]
    found = _numbers(kind)
    assert found.keys() == expected.keys()
    for part, numbers in expected.items():
        assert found[part] == pytest.approx(numbers, rel=1e-4, abs=1e-7), part


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        fix_draws(patch)
        numbers = {kind: _numbers(kind) for kind in ACTIONS}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")
