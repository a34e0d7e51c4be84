"""Dreamer V1's losses and updates against :mod:`tests.dreamer_v1.oracle`."""

from functools import partial
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.dreamer_v1 import DreamerV1
from dreamzoo.nn.action_distributions import TanhNormalActions
from dreamzoo.nn.rssm.gaussian import GaussianRSSM
from dreamzoo.testing import RandomEnv
from tests.dreamer_v1.oracle import Oracle
from tests.dreamers import ACTIONS, EVERYTHING, VECTOR, Networks
from tests.oracles import Row, Streams, assert_gradients, fix_draws, train_once

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


def make_agent(
    observations: spaces.Space, actions: spaces.Space, settings: dict[str, Any], weights: int = 1
) -> DreamerV1:
    """Make an agent with weights that are not those of a beginner, but of a seed."""
    policy: dict[str, Any] = {
        **{"deter": 6, "stoch": 3, "units": 7, "reward_arch": [5, 4], "cont_arch": [5]},
        **{"net_arch": dict(pi=[6, 5], vf=[6]), "cnn_depth": 2, "cont": settings["use_cont"]},
        "optimizer_kwargs": {"eps": settings["adam_eps"]},
    }
    given = {k: v for k, v in settings.items() if k not in ("use_cont", "adam_eps")}
    given |= {"learning_rate": RATES["world_model"], "policy_kwargs": policy}
    given |= {f"{name}_learning_rate": RATES[name] for name in ("actor", "critic")}
    alias = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    env = DummyVecEnv([lambda: RandomEnv(observations, actions)] * 2)
    agent = DreamerV1(alias, env, batch_size=3, batch_length=5, buffer_size=80, seed=3, **given)
    generator = th.Generator().manual_seed(weights)
    with th.no_grad():
        for name, p in agent.policy.named_parameters():
            share = 0.1 if "cnn" in name else 0.3  # many pixels
            p.add_(share * th.randn(p.shape, generator=generator))
    return agent


@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        # With these weights no ReLU of the CNNs is so close to 0 that rounding decides what it is:
        # none within 2e-6, with those of others within 1e-8.
        pytest.param(EVERYTHING, "box", {"horizon": 2, "weights": 8}, id="dict"),
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
    settings = {**SETTINGS, **changes}
    agent = make_agent(observations, ACTIONS[actions], settings, settings.pop("weights", 1))
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

    # The case is worth its name.
    assert any(row.is_first(t) for row in seen for t in range(1, 5))
    assert any(record.terminal for row in seen for record in row.records)
    assert (expected["kl"] == settings["free_nats"]) == (settings["free_nats"] > 10)
    clipped = [norm > settings["max_grad_norm"] for norm in oracle.norms.values()]
    assert any(clipped) == (settings["max_grad_norm"] < 1)
