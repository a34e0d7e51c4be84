"""Dreamer V1's losses and updates against :mod:`tests.dreamer_v1.oracle`."""

from functools import partial
from typing import Any

import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v1.losses import behavior_loss, world_model_loss
from dreamzoo.nn.action_distributions import TanhNormalActions
from dreamzoo.nn.rssm.gaussian import GaussianRSSM
from dreamzoo.nn.state import flatten, select
from tests.dreamer_v1.oracle import Oracle
from tests.dreamers import ACTIONS, EVERYTHING, VECTOR, Batch, Networks, learn, make_rows, to_batch
from tests.oracles import assert_gradients, fix_draws

#: No default, no two alike, none 1: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "free_nats": 0.9,
    "kl_coef": 0.7,
    "use_cont": False,
    "cont_coef": 4.5,
    "gamma": 0.93,
    "gae_lambda": 0.86,
    "horizon": 4,
    "max_grad_norm": 1e6,
    "adam_eps": 1e-3,
}
RATES = {"world_model": 1e-2, "actor": 3e-3, "critic": 2e-2}
#: Uniform and normal numbers of three updates.
DRAWS = [(0.31, -0.6), (0.74, 0.9), (0.52, 0.4)]


def make_networks(observations: spaces.Space, actions: spaces.Space, s: dict[str, Any]) -> Networks:
    dynamics = partial(GaussianRSSM, deter=6, stoch=3, units=7, activation="elu")
    kwargs = {"use_cont": s["use_cont"], "gamma": s["gamma"]}
    return Networks(observations, actions, dynamics, TanhNormalActions, **kwargs)


def compute_losses(n: Networks, batch: Batch, s: dict[str, Any]) -> dict[str, th.Tensor]:
    """All terms, as the agent computes them."""
    filtered = n.filter(batch)
    terms, _ = world_model_loss(
        n.world_model,
        filtered,
        batch.rewards,
        s["gamma"] * (~batch.is_terminal).float(),
        free_nats=s["free_nats"],
    )
    steps = slice(None, -1) if s["use_cont"] else slice(None)
    start = flatten(select(filtered.latent, (slice(None), steps)), 0, 1)
    dream = n.world_model.imagine(start, n.actor, n.critic, s["horizon"], s["gamma"])
    return terms | behavior_loss(dream, n.critic, gae_lambda=s["gae_lambda"])[0]


@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        pytest.param(EVERYTHING, "box", {"horizon": 2}, id="dict"),
        pytest.param(VECTOR, "box", {"use_cont": True, "max_grad_norm": 0.4}, id="continue head"),
        pytest.param(VECTOR, "box", {"free_nats": 50.0, "horizon": 5}, id="few nats"),
        pytest.param(VECTOR, "discrete", {"use_cont": True}, id="discrete"),
        pytest.param(VECTOR, "multi", {}, id="multi-discrete"),
    ],
)
def test_updates_equal_the_oracle(
    observations: spaces.Space,
    actions: str,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    th.manual_seed(3)  # with others, a draw may lie on the border between two classes
    settings = {**SETTINGS, **changes}
    networks = make_networks(observations, ACTIONS[actions], settings)
    del networks.critic_target
    oracle = Oracle(networks, observations, ACTIONS[actions], settings, RATES)
    optimizers: dict[str, th.optim.Optimizer] = {
        name: th.optim.Adam(module.parameters(), lr=RATES[name], eps=settings["adam_eps"])
        for name, module in networks.groups().items()
    }
    tolerance = 1e-3 if oracle.images else 2e-5
    for seed, (uniform, normal) in enumerate(DRAWS):
        rows = make_rows(observations, ACTIONS[actions], 3, 5, seed)
        with monkeypatch.context() as patch:
            fix_draws(patch, uniform, normal)
            losses = compute_losses(networks, to_batch(rows, ACTIONS[actions]), settings)
            weights = {"kl": settings["kl_coef"], "cont": settings["cont_coef"]}
            total = th.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum()
            norms = learn(networks, total, optimizers, settings["max_grad_norm"])
        expected, gradients = oracle.update(rows, uniform, normal)

        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(expected[name], rel=2e-5, abs=1e-6), name
        for name, norm in norms.items():
            assert norm == pytest.approx(oracle.norms[name], rel=1e-4), name
        assert_gradients(networks, gradients)
        for name, p in networks.named_parameters():
            error = float((p.detach() - oracle.w[name].detach()).abs().max())
            assert error < tolerance, f"{name}: off by {error:.1e}"

    # The case is worth its name.
    assert any(row.is_first(t) for row in rows for t in range(1, 5))
    assert any(record.terminal for row in rows for record in row.records)
    assert (expected["kl"] == settings["free_nats"]) == (settings["free_nats"] > 10)
    clipped = {name: norm > settings["max_grad_norm"] for name, norm in norms.items()}
    assert any(clipped.values()) == (settings["max_grad_norm"] < 1)
