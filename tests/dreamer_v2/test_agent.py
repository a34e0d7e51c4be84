"""What DreamerV2 does beside its losses: sizes, slow critic, schedules, ablations by name."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v2 import DreamerV2
from dreamzoo.dreamer_v2.policies import DreamerV2Policy
from dreamzoo.nn.dreamer_model import DreamerWorldModel
from dreamzoo.nn.rssm.kinds import LatentsKind
from dreamzoo.nn.rssm.latents import NormalLatents, OneHotLatents
from dreamzoo.testing import RandomEnv
from tests.dreamers import ACTIONS, VECTOR


def make_agent(actions: str = "discrete", **settings: Any) -> DreamerV2:
    env = RandomEnv(VECTOR, ACTIONS[actions])
    small = {**DreamerV2.smallest, **settings}
    small["policy_kwargs"] = {
        **DreamerV2.smallest["policy_kwargs"],
        **settings.get("policy_kwargs", {}),
    }
    return DreamerV2("MlpPolicy", env, seed=0, **small)


@pytest.mark.parametrize(
    ("channels", "actions", "kwargs", "expected"),
    [
        (1, spaces.Discrete(18), {}, [19_975_379, 1_138_418, 1_131_601]),
        (
            3,
            spaces.Box(-1, 1, (6,)),
            {"deter": 200, "cont": False},
            [13_656_772, 976_012, 971_601],
        ),
    ],
)
def test_parameter_counts(
    channels: int, actions: spaces.Space, kwargs: dict[str, Any], expected: list[int]
) -> None:
    images = spaces.Box(0, 255, (channels, 64, 64), np.uint8)
    policy = DreamerV2Policy(images, actions, lambda _: 1e-3, **kwargs)
    networks = (policy.world_model, policy.actor, policy.critic)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == expected


def test_all_layers_have_elu() -> None:
    images = spaces.Box(0, 255, (1, 64, 64), np.uint8)
    policy: Any = DreamerV2Policy(images, spaces.Discrete(2), lambda _: 1e-3, cnn_depth=2)
    model = policy.world_model
    for part in (model.encoder.cnn, model.decoder.cnn, model.dynamics, policy.actor):
        assert any(isinstance(layer, th.nn.ELU) for layer in part.modules())
    assert not any(isinstance(layer, th.nn.ReLU) for layer in policy.modules())


def test_published_settings_are_the_defaults() -> None:
    agent = DreamerV2("MlpPolicy", "CartPole-v1", buffer_size=10_000)
    assert agent.train_ratio == 50 * 50 / 4
    group = agent.policy.optimizers["critic_optimizer"].param_groups[0]
    assert (group["eps"], group["shrink"]) == (1e-5, 1e-6)
    assert agent._own_rates() == {"actor_optimizer": 4e-5, "critic_optimizer": 1e-4}


def test_slow_critic_is_copied_after_the_first_update_and_at_every_interval() -> None:
    agent = make_agent(target_update_interval=3, gradient_steps=0).learn(20)
    copied = []
    for _ in range(7):
        agent.train(1)
        pairs = zip(
            agent.policy.critic.parameters(), agent.policy.critic_target.parameters(), strict=True
        )
        copied.append(all(th.equal(a, b) for a, b in pairs))
    assert copied == [True, False, False, True, False, False, True]


def test_slow_critic_begins_as_a_copy_and_is_not_trained() -> None:
    policy = make_agent().policy
    slow = [*policy.critic_target.parameters()]
    for ours, theirs in zip(slow, policy.critic.parameters(), strict=True):
        assert th.equal(ours, theirs)
        assert not ours.requires_grad
    trained = {
        id(p)
        for optimizer in policy.optimizers.values()
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert trained == {id(p) for p in policy.trained_parameters()}


def test_slow_critic_moves_by_tau() -> None:
    policy = make_agent().policy
    policy.critic.out.bias.data.fill_(1.0)
    policy.critic_target.out.bias.data.fill_(0.0)
    policy.follow_critic(0.25)
    assert policy.critic_target.out.bias.item() == 0.25


def test_settings_move_along_their_lines() -> None:
    """Section 3.9's schedules: linear in steps, then constant; they reach the loss."""
    agent = make_agent(rho=(0.9, 0.5, 40), ent_coef=(0.0, 1.0, 20), learning_starts=11)
    agent.learn(10)
    for steps, rho, entropy in ((20, 0.7, 1.0), (30, 0.6, 1.0), (60, 0.5, 1.0)):
        agent.learn(steps - agent.num_timesteps, reset_num_timesteps=False)
        assert float(agent._now("rho")) == pytest.approx(rho)
        assert float(agent._now("ent_coef")) == pytest.approx(entropy)
    assert agent.replay_buffer is not None
    batch = agent.replay_buffer.sample(2, rng=np.random.default_rng(0), online=False)
    losses = []
    for coefficient in (0.0, (0.0, 1.0, 60), 1.0):
        agent.ent_coef = coefficient
        th.manual_seed(0)
        agent._generator.manual_seed(0)  # type: ignore[union-attr]
        losses.append(float(agent.losses(batch).terms["actor"]))
    assert losses[1] == pytest.approx(losses[2])
    assert losses[0] > losses[1]


@pytest.mark.parametrize(
    ("settings", "check"), [({"layer_norm": False}, "norm"), ({"latents": "gaussian"}, "latents")]
)
def test_ablations_of_layers_change_the_layer_they_name(
    settings: dict[str, Any], check: str
) -> None:
    agent = make_agent(policy_kwargs=DreamerV2.smallest["policy_kwargs"] | settings).learn(16)
    assert agent._n_updates > 0
    dynamics: Any = agent.policy.world_model.dynamics
    assert isinstance(dynamics.cell.norm, th.nn.LayerNorm) == (check != "norm")
    assert isinstance(dynamics.latents, NormalLatents if check == "latents" else OneHotLatents)


def test_rewards_are_learned_as_their_tanh_or_as_they_are() -> None:
    agents = {
        kind: make_agent(reward_transform=kind, gradient_steps=0).learn(20)
        for kind in ("tanh", "identity")
    }
    batch = agents["tanh"].recorded_sequences(np.random.default_rng(0))
    batch = batch._replace(rewards=th.full_like(batch.rewards, 3.0))
    losses = {}
    for kind, agent in agents.items():
        agent.policy.world_model.reward.out.weight.data.zero_()  # predicts zero
        losses[kind] = agent.losses(batch).terms["reward"].item()
    assert losses == pytest.approx({"tanh": 0.5 * np.tanh(3.0) ** 2, "identity": 4.5})


@pytest.mark.parametrize(("rho", "learns"), [(1.0, False), (0.5, True)])
def test_rewards_teach_the_actor_through_the_dynamics_only_if_asked(
    rho: float, learns: bool
) -> None:
    agent = make_agent("box", rho=rho, gradient_steps=0).learn(20)
    agent._begin_updates()
    terms = agent.losses(agent.recorded_sequences(np.random.default_rng(0))).terms
    bias = agent.policy.actor.out.bias
    assert th.autograd.grad(terms["actor"], bias, retain_graph=True)[0].any()
    weights = list(agent.policy.world_model.parameters())
    found = th.autograd.grad(terms["actor"], weights, allow_unused=True)
    assert all(g is None for g in found)
    dream = agent.policy.world_model.imagine(
        agent.world_model.initial(2),
        agent.policy.actor,
        agent.policy.critic_target,
        3,
        0.9,
        graph=agent.rho != 1.0,
    )
    assert dream.reward.requires_grad == learns


def test_a_schedule_learns_through_the_dynamics_as_its_value_does() -> None:
    found = []
    for rho in (0.5, (0.5, 0.5, 10), (0.5, 1.0, 10)):
        agent = make_agent("box", rho=rho, gradient_steps=0).learn(20)
        agent._begin_updates()
        terms = agent.losses(agent.recorded_sequences(np.random.default_rng(0))).terms
        found.append(th.autograd.grad(terms["actor"], agent.policy.actor.out.bias)[0])
    constant, schedule, ended = found
    assert th.equal(constant, schedule)
    assert not th.allclose(constant, ended)


def test_a_schedule_that_has_ended_with_reinforce_alone_needs_no_graph_of_dreams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, imagine = [], DreamerWorldModel.imagine

    def watch(*args: Any, **kwargs: Any) -> Any:
        kept.append(kwargs["graph"])
        return imagine(*args, **kwargs)

    monkeypatch.setattr(DreamerWorldModel, "imagine", watch)
    found = []
    for rho in (1.0, (0.9, 1.0, 20), (0.9, 1.0, 21), (1.0, 0.0, 100)):
        agent = make_agent("box", rho=rho, gradient_steps=0).learn(20)
        agent._begin_updates()
        terms = agent.losses(agent.recorded_sequences(np.random.default_rng(0))).terms
        found.append(th.autograd.grad(terms["actor"], agent.policy.actor.out.bias)[0])
    assert kept == [False, False, True, True]
    assert th.equal(found[0], found[1])


def test_lines_are_checked() -> None:
    for wrong in (1.5, (0.0, 2.0, 10), (0.0, 1.0), (0.0, 1.0, 0), "linear"):
        with pytest.raises(ValueError, match=r"rho=.* must be between 0 and 1.*from, to, and the"):
            make_agent(rho=wrong)
    assert make_agent(rho=[0, 1, 10]).rho == (0.0, 1.0, 10)


def _gradients(agent: DreamerV2) -> dict[str, th.Tensor]:
    """Gradients of the world model alone, with the same data and draws for every agent."""
    agent.learn(12)
    assert agent.replay_buffer is not None
    batch = agent.replay_buffer.sample(2, rng=np.random.default_rng(0), online=False)
    return _of(agent, agent.losses(batch).terms)


def _of(agent: DreamerV2, terms: dict[str, th.Tensor]) -> dict[str, th.Tensor]:
    named = dict(agent.policy.world_model.named_parameters())
    found: dict[str, th.Tensor] = {}
    for term in ("recon", "reward", "cont", "kl"):
        for name, gradient in zip(
            named,
            th.autograd.grad(terms[term], [*named.values()], retain_graph=True, allow_unused=True),
            strict=True,
        ):
            found[f"{term} -> {name.split('.')[0]}"] = found.get(
                f"{term} -> {name.split('.')[0]}", th.zeros(())
            ) + (0.0 if gradient is None else gradient.abs().sum())
    return found


Ablation = tuple[dict[str, Any], Callable[[str], bool]]
#: Ablations of table 2 that cut gradients, and which ones.
CUT: dict[str, Ablation] = {
    "No Image Gradients": (
        {"image_gradients": False},
        lambda way: way in ("recon -> encoder", "recon -> dynamics"),
    ),
    "No Reward Gradients": (
        {"reward_gradients": False},
        lambda way: way in ("reward -> encoder", "reward -> dynamics"),
    ),
    "DreamerV2": ({}, lambda way: False),
}


@pytest.mark.parametrize("name", CUT)
def test_an_ablation_cuts_exactly_the_gradients_that_it_names(name: str) -> None:
    settings, is_cut = CUT[name]
    ways = ("encoder", "dynamics", "decoder", "reward", "cont")
    own = {"recon": "decoder", "reward": "reward", "cont": "cont"}
    for way, size in _gradients(make_agent(**settings)).items():
        term, part = way.split(" -> ")
        expected = part in ("encoder", "dynamics") or own.get(term) == part
        assert part in ways
        assert bool(size > 0) == (expected and not is_cut(way)), way


def test_other_ablations_change_the_layer_or_the_weight_that_they_name() -> None:
    base = make_agent()
    shapes = {k: v.shape for k, v in base.policy.named_parameters()}
    plain = make_agent(policy_kwargs={"layer_norm": False})
    missing = shapes.keys() - {k for k, _ in plain.policy.named_parameters()}
    assert missing
    assert all("dynamics.cell" in name and "norm" in name for name in missing)
    gaussian = make_agent(policy_kwargs={"latents": "gaussian"}).policy.world_model.dynamics
    assert (gaussian.stoch, gaussian.classes) == (3, 1)
    assert base.policy.world_model.dynamics.classes == 4


@pytest.mark.parametrize("latents", get_args(LatentsKind))
def test_layers_that_read_one_hot_latents_know_where_these_are(latents: str) -> None:
    """The columns of their weights are summed, which saves a quarter of an update's arithmetic."""
    small = dict(stoch=3, classes=9, deter=8, units=8, head_arch=[8], net_arch=[8])
    agent = DreamerV2("MlpPolicy", "CartPole-v1", policy_kwargs=dict(small, latents=latents))
    policy, model = agent.policy, agent.policy.world_model
    heads = policy.actor, policy.critic, policy.critic_target, model.reward, model.cont
    networks: list[Any] = [model.dynamics.input, model.decoder.mlp, *(x.body for x in heads)]
    known = [[layer.ones for layer in network[::2]] for network in networks]
    if latents in ("categorical", "st_gumbel"):
        assert [ones for ones, *_ in known] == [slice(0, 27), *[slice(8, 35)] * 6]
    else:
        assert {ones for ones, *_ in known} == {None}
    assert all(ones is None for _, *others in known for ones in others)
