"""The whole update against :mod:`tests.dreamer_v3.oracle`: losses, gradients, steps, latents."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3.sizes import get_size
from tests.dreamer_v3.conftest import SpaceEnv
from tests.dreamer_v3.oracle import Oracle, State
from tests.oracles import Streams, assert_gradients, fix_draws, train_once

VECTOR = spaces.Box(-2, 2, (3,), np.float32)
EVERYTHING = spaces.Dict(
    {
        "vector": VECTOR,
        "image": spaces.Box(0, 255, (3, 36, 37), np.uint8),
        "integer": spaces.Discrete(4, start=2),
        "integers": spaces.MultiDiscrete([2, 3]),
        "bits": spaces.MultiBinary(3),
    }
)

#: No default, no two alike, none 1: whoever forgets or confuses one of them is found.
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "batch_size": 5,
    "batch_length": 6,
    "horizon": 3,
    "gamma": 0.83,
    "gae_lambda": 0.71,
    "tau": 0.17,
    "ent_coef": 0.23,
    "free_nats": 1.3,
    "dyn_coef": 0.62,
    "rep_coef": 0.37,
    "replay_vf_coef": 0.46,
    "slow_coef": 0.77,
    "start_cont": "predicted",
    "imagination_last": None,
}
POLICY: dict[str, Any] = {
    "size": replace(get_size("debug"), bins=255, head_layers=2),
    "unimix": 0.07,
    "actor_unimix": 0.19,
    "optimizer_kwargs": dict(betas=(0.8, 0.97), eps=1e-6, agc=0.2, agc_floor=0.05, warmup=3),
}
#: Uniform and normal numbers of three updates.
DRAWS = [(0.31, -0.6), (0.74, 0.9), (0.52, 0.4)]


def make_agent(
    space: spaces.Space, actions: spaces.Space, n_envs: int, settings: dict[str, Any]
) -> DreamerV3:
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    env = DummyVecEnv([lambda: SpaceEnv(space, actions)] * n_envs)
    agent = DreamerV3(
        policy, env, **settings, policy_kwargs=POLICY, buffer_size=40 * n_envs, seed=0
    )
    generator = th.Generator().manual_seed(1)
    with th.no_grad():
        for p in agent.policy.parameters():
            p.add_(0.4 * th.randn(p.shape, generator=generator))
        bump = -0.5 * ((th.arange(255) - 127) / 4.0) ** 2  # or the outer bins, 5e8, win
        bump.clamp_(min=-50)
        model = agent.policy.world_model
        model.dynamics.post_logits.weight.mul_(3)  # some beliefs are far from what was expected
        for head in (model.reward, agent.policy.critic, agent.policy.critic_target):
            head.out.bias.add_(bump)
        agent.policy.return_normalizer.low_value.fill_(-1.5)
        agent.policy.return_normalizer.high_value.fill_(2.5)
    return agent


def refresh(streams: Streams, places: list[tuple[int, int]], states: list[list[State]]) -> None:
    """Remember the newest latents; where two rows overlap, the later row's."""
    for (env, start), row in zip(places, states, strict=True):
        for t, (h, z) in enumerate(row):
            classes = z.detach().argmax(1).numpy().astype(np.uint8)
            streams.records[env][start + t].latent = h.detach().numpy(), classes


@pytest.mark.parametrize(
    ("space", "actions", "n_envs", "changes"),
    [
        pytest.param(EVERYTHING, spaces.Box(-1, 1, (2,)), 3, {"imagination_last": 4}, id="dict"),
        pytest.param(
            VECTOR,
            spaces.Discrete(3),
            2,
            {"start_cont": "data", "imagination_last": 3},
            id="discrete",
        ),
        pytest.param(VECTOR, spaces.MultiDiscrete([2, 3]), 1, {"replay_context": False}, id="zero"),
    ],
)
def test_updates_equal_the_oracle(
    space: spaces.Space,
    actions: spaces.Space,
    n_envs: int,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {**SETTINGS, **changes}
    agent = make_agent(space, actions, n_envs, settings)
    streams = Streams(agent, 50)  # more than the replay holds
    oracle = Oracle(agent, settings, POLICY)
    normalizer = agent.policy.return_normalizer
    kinds: set[tuple[bool, ...]] = set()
    for uniform, normal in DRAWS:
        with monkeypatch.context() as patch:
            fix_draws(patch, uniform, normal)
            places, rows, logged = train_once(agent, streams, monkeypatch)
        losses, gradients, states = oracle.update(rows, uniform, normal)
        kinds |= {
            (row.is_first(t), r.last, row.is_last(t), r.terminal)
            for row in rows
            for t, r in enumerate(row.records)
        }

        assert {k.removesuffix("_loss") for k in logged if k.endswith("_loss")} == losses.keys()
        for name, loss in losses.items():
            assert logged[f"{name}_loss"] == pytest.approx(loss, rel=2e-5), name
        for name in ("return_scale", "weight", "value"):
            assert logged[name] == pytest.approx(oracle.seen[name], rel=1e-4), name
        assert float(normalizer.low_value) == pytest.approx(oracle.low, rel=1e-5)
        assert float(normalizer.high_value) == pytest.approx(oracle.high, rel=1e-5)
        assert_gradients(agent.policy, gradients)
        total = sum(float(g.square().sum()) for g in gradients.values() if g is not None) ** 0.5
        assert logged["grad_norm"] == pytest.approx(total, rel=1e-5)
        for name, p in agent.policy.named_parameters():
            error = float((p.detach() - oracle.w[name].detach()).abs().max())
            assert error < 2e-5, f"{name}: off by {error:.1e}"

        if settings.get("replay_context", True):
            refresh(streams, places, states)
        assert agent.replay_buffer is not None
        stored = agent.replay_buffer.latents
        for name, expected in streams.stored_latents().items():
            np.testing.assert_allclose(stored[name], expected, rtol=0, atol=2e-5)

    # The case is worth its name: steps that start an episode, end it for good, by a time limit and
    # by a cut; divergences on both sides of the free nats, gradients that were clipped and not.
    ends = {(False, True, True, True), (False, True, True, False), (False, False, True, False)}
    assert {(False,) * 4, (True, False, False, False)} | ends <= kinds
    assert min(oracle.seen["kl"]) < settings["free_nats"] < max(oracle.seen["kl"])
    assert set(oracle.seen["clipped"]) == {False, True}
