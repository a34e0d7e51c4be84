"""The whole update against :mod:`tests.planet.oracle`: losses, gradients, optimizer steps."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import PlaNet
from tests.oracles import Streams, assert_gradients, fix_draws, train_once
from tests.planet.oracle import Oracle
from tests.sb3.conftest import RandomEnv

VECTOR = spaces.Box(-2, 2, (3,), np.float32)
EVERYTHING = spaces.Dict(
    {
        "vector": VECTOR,
        "image": spaces.Box(0, 255, (3, 64, 64), np.uint8),
        "integer": spaces.Discrete(4, start=2),
    }
)

#: No default, no two alike, none 1: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "batch_size": 5,
    "batch_length": 6,
    "free_nats": 1.3,
    "kl_coef": 0.7,
    "reward_coef": 3.5,
    "overshooting_distance": 0,
    "overshooting_coef": 0.45,
    "max_grad_norm": 1e6,
}
POLICY: dict[str, Any] = {
    "dynamics": "rssm",
    "deter": 6,
    "stoch": 3,
    "units": 7,
    "reward_arch": [5, 4],
    "cnn_depth": 2,
    "activation": "relu",
}
#: Uniform and normal numbers of three updates.
DRAWS = [(0.31, -0.6), (0.74, 0.9), (0.52, 0.4)]


def make_agent(
    space: spaces.Space, n_envs: int, settings: dict[str, Any], policy: dict[str, Any]
) -> PlaNet:
    alias = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    env = DummyVecEnv([lambda: RandomEnv(space)] * n_envs)
    agent = PlaNet(alias, env, **settings, policy_kwargs=policy, buffer_size=40 * n_envs, seed=0)
    generator = th.Generator().manual_seed(1)
    with th.no_grad():
        for name, p in agent.policy.named_parameters():
            share = 0.1 if "cnn" in name else 0.3  # many pixels
            p.add_(share * th.randn(p.shape, generator=generator))
    return agent


@pytest.mark.parametrize(
    ("space", "n_envs", "changes", "policy_changes"),
    [
        pytest.param(EVERYTHING, 2, {"batch_size": 3}, {}, id="dict"),
        pytest.param(
            VECTOR, 3, {"overshooting_distance": 4, "max_grad_norm": 0.8}, {}, id="overshooting"
        ),
        pytest.param(
            VECTOR,
            1,
            {"overshooting_distance": 3, "free_nats": 5.0},
            {"dynamics": "ssm", "activation": "elu"},
            id="ssm",
        ),
        pytest.param(
            VECTOR,
            2,
            {"overshooting_distance": 3},
            {"dynamics": "rnn", "activation": "elu"},
            id="rnn",
        ),
    ],
)
def test_updates_equal_the_oracle(
    space: spaces.Space,
    n_envs: int,
    changes: dict[str, Any],
    policy_changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, policy = {**SETTINGS, **changes}, {**POLICY, **policy_changes}
    agent = make_agent(space, n_envs, settings, policy)
    streams = Streams(agent, 50)  # more than the replay holds
    oracle = Oracle(agent, settings, policy)
    # Gradients of 12,288 pixels round more, and Adam divides small ones by their size.
    tolerance = 1e-3 if oracle.images else 2e-5
    for uniform, normal in DRAWS:
        with monkeypatch.context() as patch:
            fix_draws(patch, uniform, normal)
            _, rows, logged = train_once(agent, streams, monkeypatch)
        losses, gradients = oracle.update(rows, uniform, normal)

        assert {k.removesuffix("_loss") for k in logged if k.endswith("_loss")} == losses.keys()
        for name, loss in losses.items():
            assert logged[f"{name}_loss"] == pytest.approx(loss, rel=2e-5), name
        assert logged["grad_norm"] == pytest.approx(oracle.seen["norm"][-1], rel=1e-5)
        assert_gradients(agent.policy, gradients)
        for name, p in agent.policy.named_parameters():
            error = float((p.detach() - oracle.w[name].detach()).abs().max())
            assert error < tolerance, f"{name}: off by {error:.1e}"

    # The case is worth its name.
    assert any(row.is_first(t) for row in rows for t in range(1, 6))
    for name in ("kl", "overshooting"):
        if oracle.seen[name]:
            assert min(oracle.seen[name]) < settings["free_nats"] < max(oracle.seen[name])
    clipped = [norm > settings["max_grad_norm"] for norm in oracle.seen["norm"]]
    assert clipped == [settings["max_grad_norm"] < 1] * len(DRAWS)
