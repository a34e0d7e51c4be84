"""MERLIN's losses and its update against :mod:`tests.merlin.oracle`."""

import dataclasses
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import configure

from dreamzoo.merlin import SIZES
from tests.dreamers import ACTIONS, EVERYTHING, VECTOR
from tests.merlin.agents import EPS, NOISE, POLICY, SETTINGS, TWO, UNIFORM, T, make_agent
from tests.merlin.lives import PLANS, TOGETHER, Windows, lives
from tests.merlin.oracle import Oracle
from tests.oracles import assert_gradients, fix_draws


def _parts(observations: Any, i: int) -> dict[str, Any]:
    if isinstance(observations, dict):
        return {key: x[i] for key, x in observations.items()}
    return {"": observations[i]}


@pytest.mark.filterwarnings("ignore:Episodes have")
@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        pytest.param(VECTOR, "discrete", {}, id="vector"),
        pytest.param(TWO, "multi", {"max_grad_norm": 0.4}, id="dict, clipped"),
        pytest.param(VECTOR, "box", {"actor_max_grad_norm": 0.03}, id="box, policy clipped"),
        # With these weights no ReLU of the CNN is so close to 0 that rounding decides what it is:
        # none within 5e-6, with those of others within 2e-8.
        pytest.param(EVERYTHING, "discrete", {"weights": 4}, id="image"),
        pytest.param(
            VECTOR, "discrete", {"rows": 0, "plans": TOGETHER}, id="no memory, ends together"
        ),
        pytest.param(
            VECTOR,
            "discrete",
            {"retroactive": False, "return_gradients": False},
            id="rows of one half, no return in z",
        ),
        pytest.param(VECTOR, "box", {"stochastic": False}, id="nothing drawn"),
        pytest.param(
            VECTOR,
            "multi",
            {"memory_write_grad": True, "rows": 50},
            id="gradient through many rows",
        ),
        pytest.param(VECTOR, "discrete", {"mask_unwritten": False}, id="empty rows read"),
    ],
)
def test_a_window_is_learned_from_as_the_oracle_does(
    observations: spaces.Space,
    actions: str,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {**SETTINGS, **{k: v for k, v in changes.items() if k in SETTINGS}}
    policy = {**POLICY, **{k: v for k, v in changes.items() if k in POLICY}}
    plans = changes.get("plans", PLANS)
    weights = changes.get("weights", 1)
    agent = make_agent(observations, ACTIONS[actions], settings, plans, weights, **policy)
    sizes = dataclasses.asdict(SIZES["debug"])
    given = {**sizes, **policy, **settings, "noise": NOISE, "eps": EPS}
    oracle = Oracle(agent.policy, observations, ACTIONS[actions], given)
    agent.set_logger(configure(None, []))
    windows = Windows(trains=False)
    with monkeypatch.context() as patch:
        fix_draws(patch, UNIFORM, NOISE)
        agent.learn(2 * 2 * T, callback=windows)
        agent.train()
    acted = th.cat([window.actions for window in windows.kept], dim=1).numpy()
    upcoming = [_parts(agent._last_obs, i) for i in range(2)]
    lived = lives(agent.get_env())
    assert [len(life) for life in lived] == [2 * T] * 2
    losses = oracle.losses(lived, [[*row] for row in acted], T, upcoming)
    gradients = oracle.gradients(losses)

    logged = {k.removeprefix("train/"): v for k, v in agent.logger.name_to_value.items()}
    assert {k.removesuffix("_loss") for k in logged if k.endswith("_loss")} == losses.keys()
    for name, loss in losses.items():
        assert logged[f"{name}_loss"] == pytest.approx(loss.item(), rel=2e-5, abs=1e-6), name
    for name, norm in oracle.norms.items():
        assert logged[f"{name}grad_norm"] == pytest.approx(norm, rel=1e-4), name
    assert_gradients(agent.policy, dict(gradients))
    for name, expected in oracle.step(gradients).items():
        error = float((agent.policy.get_parameter(name).detach() - expected).abs().max())
        assert error < 1e-4, f"{name}: off by {error:.1e}"

    # The case is worth its name.
    assert all(g.any() for name, g in gradients.items() if "advantage_head.2" not in name)
    for group, norm in oracle.norms.items():
        assert (norm > settings[f"{group}max_grad_norm"]) == (f"{group}max_grad_norm" in changes)
