"""Start and gradient routing of the whole agent (checklist D2, D7 and D10)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3.policies import DreamerV3Policy
from dreamzoo.nn.optim import LaProp

MakeAgent = Callable[..., DreamerV3]


@pytest.fixture(scope="module")
def one_m() -> DreamerV3Policy:
    """The 1m model of the walker: 24 numbers, 6 torques."""
    th.manual_seed(0)
    obs = spaces.Box(-np.inf, np.inf, (24,))
    return DreamerV3Policy(obs, spaces.Box(-1, 1, (6,)), lambda _: 4e-5, size="1m")


#: Standard deviations of initial weights at size 1m (specification, section 0.7).
DEVIATIONS = {
    "dynamics.core.deter_in.linear": 0.0442,
    "dynamics.core.stoch_in.linear": 0.0884,
    "dynamics.core.action_in.linear": 6**-0.5,
    "dynamics.core.hidden": 0.0221,
    "dynamics.core.gates": 0.0442,
    "dynamics.prior_hidden.0.linear": 0.0442,
    "dynamics.prior_hidden.1.linear": 0.125,
    "dynamics.prior_logits": 0.125,
    "dynamics.post_hidden.linear": 0.0417,
    "dynamics.post_logits": 0.125,
    "reward.body.0.linear": 0.0395,
    "cont.body.0.linear": 0.0395,
    "cont.out": 0.125,
    "decoder.outputs.0": 0.125,
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_initial_deviations(one_m: DreamerV3Policy, name: str) -> None:
    """Checklist D2: the hidden block layer has 1/sqrt(2048), not 1/sqrt(256)."""
    weight = one_m.world_model.get_parameter(f"{name}.weight").detach()
    assert float(weight.std()) == pytest.approx(DEVIATIONS[name], rel=0.1)


def test_initial_deviations_of_the_behavior(one_m: DreamerV3Policy) -> None:
    for head in (one_m.actor.mean, one_m.actor.std):
        assert isinstance(head, nn.Linear)
        assert float(head.weight.detach().std()) == pytest.approx(0.00125, rel=0.1)
    hidden = one_m.critic.get_parameter("body.0.linear.weight").detach()
    assert float(hidden.std()) == pytest.approx(0.0395, rel=0.05)


def test_pitfall_16_reward_and_critic_start_at_exactly_zero(one_m: DreamerV3Policy) -> None:
    """Checklist D2. Any other start gives first predictions of +-1e5 to 1e7."""
    feat = 10 * th.randn(700, 640)
    for head in (one_m.world_model.reward, one_m.critic, one_m.critic_target):
        assert not head.out.weight.any()
        assert not head.out.bias.any()
        assert th.equal(head.mean(feat), th.zeros(700))


def test_initial_policy_is_nearly_uniform(one_m: DreamerV3Policy) -> None:
    """Checklist D2: entropy about 1.3055 a dimension, or ln n."""
    feat = th.randn(50, 640)
    entropy = one_m.actor(feat).entropy().detach() / 6
    th.testing.assert_close(entropy, th.full((50,), 1.3055), atol=3e-3, rtol=0)
    box = spaces.Box(-np.inf, np.inf, (4,))
    discrete = DreamerV3Policy(box, spaces.Discrete(5), lambda _: 4e-5, size="1m")
    entropy = discrete.actor(feat).entropy().detach()
    th.testing.assert_close(entropy, th.full((50,), float(np.log(5))), atol=1e-3, rtol=0)


def test_slow_critic_starts_as_a_copy(make_agent: MakeAgent) -> None:
    policy = make_agent().policy
    slow = policy.critic_target.state_dict()
    assert all(th.equal(v, slow[k]) for k, v in policy.critic.state_dict().items())


# ---------------------------------------------------------------- gradient routing

WORLD_MODEL = {"encoder", "dynamics"}

ROUTES = {
    "recon": WORLD_MODEL | {"decoder"},
    "reward": WORLD_MODEL | {"reward"},
    "cont": WORLD_MODEL | {"cont"},
    "dyn": WORLD_MODEL,
    "rep": WORLD_MODEL,
    "actor": {"actor"},
    "critic": {"critic"},
    "replay_critic": WORLD_MODEL | {"critic"},
}


def _moved(policy: DreamerV3Policy, loss: Tensor) -> set[str]:
    """Name the modules that get a gradient."""
    named = [(n.removeprefix("world_model."), p) for n, p in policy.named_parameters()]
    trained = [(n, p) for n, p in named if p.requires_grad]
    grads = th.autograd.grad(loss, [p for _, p in trained], allow_unused=True, retain_graph=True)
    return {
        n.split(".")[0]
        for (n, _), g in zip(trained, grads, strict=True)
        if g is not None and g.any()
    }


@pytest.mark.parametrize("term", ROUTES)
@pytest.mark.parametrize("continuous", [False, True])
def test_pitfall_10_gradients_reach_what_they_should(
    collected: MakeAgent, space_env: Any, term: str, continuous: bool
) -> None:
    """
    Checklist D7. Imagined features must be cut off, the replay critic's must not: it trains the
    world model; the slow critic never gets a gradient.
    """
    action_space = spaces.Box(-1, 1, (2,)) if continuous else spaces.Discrete(3)
    agent = collected(
        lambda: space_env(spaces.Box(-1, 1, (3,)), action_space, length=7), free_nats=0.0
    )
    assert agent.replay_buffer is not None
    losses = agent.losses(agent.replay_buffer.sample(4)).terms
    assert set(losses) == set(ROUTES)
    assert _moved(agent.policy, losses[term]) == ROUTES[term]


@pytest.mark.parametrize("length", [1, 4])
def test_the_two_divergences_train_opposite_parts(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """
    Checklist D7, on the agent's own loss: with the other side held fixed.

    The dynamics loss moves prior and core. For T > 1 it also reaches posterior and tokens, of
    earlier steps, by way of the sample; never those of the step itself. The representation loss
    never moves the prior.
    """
    agent = collected(free_nats=0.0, batch_length=length)
    assert agent.replay_buffer is not None
    model, tokens = agent.policy.world_model, []
    encode = model.encoder.forward

    def spy(inputs: dict[str, Tensor]) -> Tensor:
        tokens.append(encode(inputs).detach().requires_grad_())
        return tokens[-1]

    monkeypatch.setattr(model.encoder, "forward", spy)
    losses = agent.losses(agent.replay_buffer.sample(4)).terms
    parts = ["core", "post_hidden", "post_logits", "prior_hidden", "prior_logits"]
    named = [(n.split(".")[0], p) for n, p in model.dynamics.named_parameters()]

    def moved(name: str) -> tuple[set[str], list[bool]]:
        grads = th.autograd.grad(
            losses[name],
            [tokens[0], *(p for _, p in named)],
            retain_graph=True,
            materialize_grads=True,
        )
        into = {part for (part, _), g in zip(named, grads[1:], strict=True) if g.any()}
        return into, grads[0].view(4, length, -1).any(2).any(0).tolist()

    posterior, prior = set(parts[1:3]), set(parts[3:])
    earlier = posterior if length > 1 else set()
    assert moved("dyn") == ({"core"} | prior | earlier, [True] * (length - 1) + [False])
    assert moved("rep") == ({"core"} | posterior, [True] * length)
    assert losses["rep"].item() == pytest.approx(losses["dyn"].item(), rel=1e-6)


# ---------------------------------------------------------------- one update


def test_first_update_moves_nothing_but_statistics(collected: MakeAgent) -> None:
    """Checklist D10: warm-up starts at a step size of exactly zero."""
    agent = collected()
    before = [p.detach().clone() for p in agent.policy.trained_parameters()]
    agent.train(1, 4)
    after = agent.policy.trained_parameters()
    assert all(th.equal(a, b) for a, b in zip(before, after, strict=True))
    assert float(agent.policy.return_normalizer.high_value) != 0.0
    agent.train(1, 4)
    assert not all(th.equal(a, b) for a, b in zip(before, after, strict=True))


def test_slow_critic_follows_after_the_step(collected: MakeAgent) -> None:
    """Checklist D10: slow = 0.02 new + 0.98 slow, with the critic that the step left."""
    agent = collected(policy_kwargs={"optimizer_kwargs": {"warmup": 0}}, learning_rate=1e-2)
    slow = [p.detach().clone() for p in agent.policy.critic_target.parameters()]
    agent.train(1, 4)
    pairs = zip(slow, agent.policy.critic.parameters(), strict=True)
    expected = [0.98 * old + 0.02 * new.detach() for old, new in pairs]
    for one, other in zip(expected, agent.policy.critic_target.parameters(), strict=True):
        th.testing.assert_close(one, other)


def test_acting_changes_no_statistics(collected: MakeAgent) -> None:
    """Checklist D10: the return normalizer moves in training only."""
    agent = collected()
    agent.train(2, 4)
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    obs, state = np.zeros((2, 3), np.float32), None
    for _ in range(5):
        _, state = agent.predict(obs, state=state)
    assert all(th.equal(v, before[k]) for k, v in agent.policy.state_dict().items())


def test_pitfall_15_the_optimizer_is_the_published_one(make_agent: MakeAgent) -> None:
    """Adam at 4e-5 without adaptive clipping is a different algorithm."""
    agent = make_agent()
    assert isinstance(agent.policy.optimizer, LaProp)
    (group,) = agent.policy.optimizer.param_groups
    settings = {k: v for k, v in group.items() if k != "params"}
    assert settings == {
        "lr": 4e-5,
        "betas": (0.9, 0.999),
        "eps": 1e-20,
        "agc": 0.3,
        "agc_floor": 1e-3,
        "warmup": 1000,
        "n_updates": 0,
    }


def test_default_settings_are_the_published_ones() -> None:
    """Table 4 and the authors' configuration."""
    agent = DreamerV3("MlpPolicy", "CartPole-v1", device="cpu", seed=0)
    names = "batch_size batch_length horizon gae_lambda tau ent_coef free_nats dyn_coef rep_coef"
    assert [getattr(agent, n) for n in names.split()] == [16, 64, 15, 0.95, 0.02, 3e-4, 1, 1, 0.1]
    assert agent.gamma == 1 - 1 / 333
    assert (agent.replay_vf_coef, agent.slow_coef, agent.learning_rate) == (0.3, 1.0, 4e-5)
    normalizer = agent.policy.return_normalizer
    assert (normalizer.rate, normalizer.low, normalizer.high, normalizer.limit) == (
        0.01,
        0.05,
        0.95,
        1.0,
    )
    assert agent.policy.world_model.dynamics.unimix == agent.policy.actor.unimix == 0.01
