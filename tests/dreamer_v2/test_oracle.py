"""DreamerV2's losses and updates against :mod:`tests.dreamer_v2.oracle`."""

from functools import partial
from typing import Any

import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v2.losses import behavior_loss, imagine, world_model_loss
from dreamzoo.nn.action_distributions import TruncatedNormalActions
from dreamzoo.nn.optim import ShrinkingAdam
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.latents import Latents, NormalLatents, OneHotLatents
from dreamzoo.nn.state import flatten
from tests.dreamer_v2.oracle import Oracle
from tests.dreamers import ACTIONS, EVERYTHING, VECTOR, Batch, Networks, learn, make_rows, to_batch
from tests.oracles import assert_gradients, fix_draws

#: No default, no two alike, none 1: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "latents": "categorical",
    "stoch": 3,
    "layer_norm": True,
    "tanh_rewards": False,
    "free_nats": 0.0,
    "kl_coef": 0.7,
    "kl_balance": 0.85,
    "use_cont": True,
    "cont_coef": 4.5,
    "image_gradients": True,
    "reward_gradients": True,
    "gamma": 0.93,
    "gae_lambda": 0.86,
    "horizon": 4,
    "rho": 0.6,
    "ent_coef": 0.03,
    "target_update_interval": 2,
    "max_grad_norm": 1e6,
    "adam_eps": 1e-3,
    "shrink": 2e-3,
}
RATES = {"world_model": 1e-2, "actor": 3e-3, "critic": 2e-2}
#: Uniform and normal numbers of three updates.
DRAWS = [(0.31, -0.6), (0.74, 0.9), (0.52, 0.4)]


def make_networks(observations: spaces.Space, actions: spaces.Space, s: dict[str, Any]) -> Networks:
    latents: Latents[Any] = OneHotLatents(s["stoch"], 4)
    if s["latents"] == "gaussian":
        latents = NormalLatents(s["stoch"])
    dynamics = partial(
        LayerNormRSSM, deter=6, hidden=7, latents=latents, layer_norm=s["layer_norm"]
    )
    kwargs = {"use_cont": s["use_cont"], "gamma": s["gamma"], "cnn_activation": "elu"}
    return Networks(observations, actions, dynamics, TruncatedNormalActions, **kwargs)


def compute_losses(n: Networks, batch: Batch, s: dict[str, Any]) -> dict[str, th.Tensor]:
    """All terms, as the agent computes them."""
    filtered = n.filter(batch)
    terms, _ = world_model_loss(
        n.world_model,
        filtered,
        th.tanh(batch.rewards) if s["tanh_rewards"] else batch.rewards,
        s["gamma"] * (~batch.is_terminal).float(),
        free_nats=s["free_nats"],
        kl_balance=s["kl_balance"],
        image_gradients=s["image_gradients"],
        reward_gradients=s["reward_gradients"],
    )
    dream = imagine(
        n.world_model,
        n.actor,
        n.critic_target,
        flatten(filtered.latent, 0, 1),
        batch.is_terminal.flatten(),
        s["horizon"],
        gamma=s["gamma"],
        through_dynamics=s["rho"] < 1,
    )
    mix = {"rho": s["rho"], "ent_coef": s["ent_coef"], "gae_lambda": s["gae_lambda"]}
    return terms | behavior_loss(dream, n.critic, **mix)[0]


@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        pytest.param(EVERYTHING, "discrete", {"horizon": 2, "tanh_rewards": True}, id="dict"),
        pytest.param(VECTOR, "discrete", {"rho": 1.0, "max_grad_norm": 0.3}, id="reinforce"),
        pytest.param(VECTOR, "multi", {"rho": 0.0, "horizon": 5}, id="through the dynamics"),
        pytest.param(VECTOR, "box", {"rho": 0.0, "use_cont": False}, id="continuous"),
        pytest.param(VECTOR, "box", {"latents": "gaussian"}, id="no discrete latents"),
        pytest.param(VECTOR, "discrete", {"layer_norm": False}, id="no layer norm"),
        pytest.param(VECTOR, "discrete", {"kl_balance": None}, id="no KL balancing"),
        pytest.param(VECTOR, "discrete", {"image_gradients": False}, id="no image gradients"),
        pytest.param(VECTOR, "discrete", {"reward_gradients": False}, id="no reward gradients"),
        pytest.param(VECTOR, "discrete", {"free_nats": 30.0}, id="few nats"),
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
    oracle = Oracle(networks, observations, ACTIONS[actions], settings, RATES)
    optimizers: dict[str, th.optim.Optimizer] = {
        name: ShrinkingAdam(
            module.parameters(), RATES[name], eps=settings["adam_eps"], shrink=settings["shrink"]
        )
        for name, module in networks.groups().items()
    }
    tolerance = 1e-3 if oracle.images else 2e-5
    for n_updates, (uniform, normal) in enumerate(DRAWS):
        rows = make_rows(observations, ACTIONS[actions], 3, 5, seed=n_updates)
        with monkeypatch.context() as patch:
            fix_draws(patch, uniform, normal)
            losses = compute_losses(networks, to_batch(rows, ACTIONS[actions]), settings)
            weights = {"kl": settings["kl_coef"], "cont": settings["cont_coef"]}
            total = th.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum()
            norms = learn(networks, total, optimizers, settings["max_grad_norm"])
            if n_updates % settings["target_update_interval"] == 0:
                networks.critic_target.load_state_dict(networks.critic.state_dict())
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
