"""DreamerV2's losses and updates against :mod:`tests.dreamer_v2.oracle`."""

from functools import partial
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.dreamer_v2 import DreamerV2
from dreamzoo.nn.action_distributions import TruncatedNormalActions
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.latents import Latents, NormalLatents, OneHotLatents
from dreamzoo.testing import RandomEnv
from tests.dreamer_v2.oracle import Oracle
from tests.dreamers import ACTIONS, EVERYTHING, VECTOR, Networks
from tests.oracles import Row, Streams, assert_gradients, fix_draws, train_once

#: No default, no two alike, none 1: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "latents": "categorical",
    "latents_kwargs": {},
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
    "tau": 0.7,
    "max_grad_norm": 1e6,
    "adam_eps": 1e-3,
    "shrink": 2e-3,
}
OF_POLICY = ("latents", "latents_kwargs", "stoch", "layer_norm")
RATES = {"world_model": 1e-2, "actor": 3e-3, "critic": 2e-2}
#: Codes of a codebook, none of which dies.
CODES = {"code_dim": 2, "commitment": 0.4, "decay": 0.8, "revive": 0.0}
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


def make_agent(
    observations: spaces.Space, actions: spaces.Space, settings: dict[str, Any]
) -> DreamerV2:
    """Make an agent with weights that are not those of a beginner."""
    policy: dict[str, Any] = {
        **{name: settings[name] for name in OF_POLICY},
        **{"classes": 4, "deter": 6, "hidden": 7, "units": 7, "head_arch": [5, 4]},
        **{"net_arch": dict(pi=[6, 5], vf=[6]), "cnn_depth": 2, "cont": settings["use_cont"]},
        "optimizer_kwargs": {"eps": settings["adam_eps"], "shrink": settings["shrink"]},
    }
    given = {
        k: v
        for k, v in settings.items()
        if k not in (*OF_POLICY, "use_cont", "tanh_rewards", "adam_eps", "shrink")
    }
    given["reward_transform"] = "tanh" if settings["tanh_rewards"] else "identity"
    given |= {"learning_rate": RATES["world_model"], "policy_kwargs": policy}
    given |= {f"{name}_learning_rate": RATES[name] for name in ("actor", "critic")}
    alias = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    env = DummyVecEnv([lambda: RandomEnv(observations, actions)] * 2)
    agent = DreamerV2(alias, env, batch_size=2, batch_length=5, buffer_size=80, seed=3, **given)
    generator = th.Generator().manual_seed(1)
    with th.no_grad():
        for name, p in agent.policy.named_parameters():
            share = 0.1 if "cnn" in name else 0.3  # many pixels
            p.add_(share * th.randn(p.shape, generator=generator))
    return agent


@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        pytest.param(EVERYTHING, "discrete", {"horizon": 2, "tanh_rewards": True}, id="dict"),
        pytest.param(VECTOR, "discrete", {"rho": 1.0, "max_grad_norm": 0.3}, id="reinforce"),
        pytest.param(VECTOR, "multi", {"rho": 0.0, "horizon": 5}, id="through the dynamics"),
        pytest.param(VECTOR, "box", {"rho": 0.0, "use_cont": False}, id="continuous"),
        pytest.param(VECTOR, "box", {"latents": "gaussian"}, id="no discrete latents"),
        pytest.param(
            VECTOR,
            "discrete",
            {"latents": "gumbel", "latents_kwargs": {"temperature": 0.6}},
            id="gumbel",
        ),
        pytest.param(
            VECTOR,
            "discrete",
            {"latents": "st_gumbel", "latents_kwargs": {"temperature": 0.8}},
            id="straight-through gumbel",
        ),
        pytest.param(VECTOR, "discrete", {"latents": "vq", "latents_kwargs": CODES}, id="codes"),
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
    settings = {**SETTINGS, **changes}
    agent = make_agent(observations, ACTIONS[actions], settings)
    streams = Streams(agent, 50)  # more than the replay holds
    oracle = Oracle(agent.policy, observations, ACTIONS[actions], settings, RATES)
    tolerance = 1e-3 if oracle.images else 2e-5
    seen: list[Row] = []
    for uniform, normal in DRAWS:
        with monkeypatch.context() as patch:
            fix_draws(patch, uniform, normal)
            _, rows, logged = train_once(agent, streams, monkeypatch)
        expected, gradients = oracle.update(rows, uniform, normal)
        seen += rows

        losses = {k.removesuffix("_loss") for k in logged if k.endswith("_loss")}
        assert losses == expected.keys()
        for name, loss in expected.items():
            assert logged[f"{name}_loss"] == pytest.approx(loss, rel=2e-5, abs=1e-6), name
        for name, norm in oracle.norms.items():
            of = "" if name == "world_model" else f"{name}_"
            assert logged[f"{of}grad_norm"] == pytest.approx(norm, rel=1e-4), name
        assert_gradients(agent.policy, gradients)
        for name, p in agent.policy.named_parameters():
            error = float((p.detach() - oracle.w[name].detach()).abs().max())
            assert error < tolerance, f"{name}: off by {error:.1e}"

        for name, buffer in agent.policy.named_buffers():
            if "codebook" in name:
                expected_codes = oracle.book[name.rpartition(".")[2]].numpy()
                assert buffer.numpy() == pytest.approx(expected_codes, abs=tolerance), name

    # The case is worth its name.
    assert any(row.is_first(t) for row in seen for t in range(1, 5))
    assert any(record.terminal for row in seen for record in row.records)
    assert (expected["kl"] == settings["free_nats"]) == (settings["free_nats"] > 10)
    clipped = [norm > settings["max_grad_norm"] for norm in oracle.norms.values()]
    assert any(clipped) == (settings["max_grad_norm"] < 1)
