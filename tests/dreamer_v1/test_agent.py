"""What DreamerV1 does beside its losses: how it begins, explores and learns apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v1 import DreamerV1
from dreamzoo.dreamer_v1.policies import DreamerV1Policy
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.testing import RandomEnv
from tests.dreamers import ACTIONS, VECTOR

IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)


def make_agent(actions: str = "box", **settings: Any) -> DreamerV1:
    env = RandomEnv(VECTOR, ACTIONS[actions])
    return DreamerV1("MlpPolicy", env, seed=0, **{**DreamerV1.smallest, **settings})


def collect(agent: DreamerV1, n: int = 400) -> th.Tensor:
    """Choose actions while collecting, in n equal states."""
    latent = Latent(*(part.expand(n, *part.shape[1:]) for part in agent.world_model.initial(1)))
    return agent._choose(latent, th.Generator().manual_seed(0), False)


def test_parameter_counts_of_walker() -> None:
    policy = DreamerV1Policy(IMAGE, spaces.Box(-1, 1, (6,)), lambda _: 1e-3)
    networks = (policy.world_model, policy.actor, policy.critic)
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [5_296_820, 578_412, 413_601]


def test_convolutions_have_relu_and_all_else_elu() -> None:
    policy: Any = DreamerV1Policy(IMAGE, spaces.Box(-1, 1, (6,)), lambda _: 1e-3, cnn_depth=2)
    model = policy.world_model
    for cnn in (model.encoder.cnn, model.decoder.cnn):
        assert any(isinstance(layer, th.nn.ReLU) for layer in cnn)
        assert not any(isinstance(layer, th.nn.ELU) for layer in cnn)
    for rest in (model.dynamics, model.reward, policy.actor, policy.critic):
        assert any(isinstance(layer, th.nn.ELU) for layer in rest.modules())
        assert not any(isinstance(layer, th.nn.ReLU) for layer in rest.modules())


def test_published_settings_are_the_defaults() -> None:
    agent = DreamerV1("MlpPolicy", "Pendulum-v1")
    assert agent.learning_starts == 2_500
    assert agent.train_ratio == 50 * 50 * 100 / 500
    rates = {name: x.param_groups[0]["lr"] for name, x in agent.policy.optimizers.items()}
    assert rates["optimizer"] == 6e-4
    assert agent._own_rates() == {"actor_optimizer": 8e-5, "critic_optimizer": 8e-5}
    assert all(x.param_groups[0]["eps"] == 1e-7 for x in agent.policy.optimizers.values())


def test_learning_begins_with_random_steps_and_a_burst_of_updates() -> None:
    """Section 3 of the paper: as many at once as ``pretrain`` says, then by the ratio."""
    agent = make_agent(learning_starts=11, pretrain=7, train_ratio=4.0)
    agent.learn(11)
    assert agent._n_updates == 0
    agent.learn(1, reset_num_timesteps=False)
    assert agent._n_updates == 7
    agent.learn(4, reset_num_timesteps=False)
    assert agent._n_updates == 7 + 4 * 4 / (2 * 4)


def test_updates_that_sb3_counts_have_no_burst() -> None:
    agent = make_agent(learning_starts=11, pretrain=7, gradient_steps=1).learn(14)
    assert agent._n_updates == 3


@pytest.mark.parametrize("actions", ["box", "discrete", "multi"])
def test_first_actions_are_uniform(actions: str) -> None:
    drawn = collect(make_agent(actions), 4_000)
    if actions == "box":
        assert drawn.abs().max() <= 1
        assert drawn.std().item() == pytest.approx(1 / np.sqrt(3), abs=0.02)
        return
    sizes = {"discrete": [3], "multi": [3, 2]}[actions]
    for column, size in zip(drawn.unbind(1), sizes, strict=True):
        shares = column.bincount(minlength=size) / len(column)
        assert (shares - 1 / size).abs().max() < 0.03


def test_box_actions_have_noise_while_collecting_and_none_in_predict() -> None:
    agent = make_agent(exploration_noise=0.3).learn(20)
    agent.exploration_noise = 0.0
    quiet = collect(agent)
    agent.exploration_noise = 0.3
    loud = collect(agent)
    # The actor draws first, from the same stream.
    inside = loud.abs() < 1
    assert (loud - quiet)[inside].std().item() == pytest.approx(0.3, abs=0.08)
    assert loud.abs().max() == 1.0


def test_discrete_actions_are_random_less_and_less() -> None:
    agent = make_agent("discrete", exploration_updates=100).learn(20)
    th.nn.init.zeros_(agent.policy.actor.out.weight)
    agent.policy.actor.out.bias.data = th.tensor([50.0, 0.0, 0.0])  # always the first
    shares = []
    for n_updates in (0, 50, 1000):
        agent._n_updates = n_updates
        shares.append((collect(agent, 4_000) != 0).float().mean().item())
    assert shares == pytest.approx([0.4 * 2 / 3, 0.25 * 2 / 3, 0.1 * 2 / 3], abs=0.02)


def test_rewards_are_learned_as_their_tanh_if_asked() -> None:
    agent = make_agent(gradient_steps=0).learn(20)
    batch = agent.recorded_sequences(np.random.default_rng(0))
    batch = batch._replace(rewards=th.full_like(batch.rewards, 3.0))
    agent.policy.world_model.reward.out.weight.data.zero_()  # predicts zero
    losses = {}
    for agent.reward_transform in ("tanh", "identity"):
        losses[agent.reward_transform] = agent.losses(batch).terms["reward"].item()
    assert losses == pytest.approx({"tanh": 0.5 * np.tanh(3.0) ** 2, "identity": 4.5})


def test_networks_have_rates_of_their_own() -> None:
    agent = make_agent(learning_rate=0.0, actor_learning_rate=0.0, critic_learning_rate=1e-2)
    before = {name: p.clone() for name, p in agent.policy.named_parameters()}
    agent.learn(20)
    moved = {n for n, p in agent.policy.named_parameters() if not th.equal(p, before[n])}
    assert {name.split(".")[0] for name in moved} == {"critic"}


def test_values_are_of_what_follows() -> None:
    """The critic's returns begin with the reward of having arrived, which SB3 never counts."""
    agent = make_agent().learn(20)
    latent = agent.world_model.initial(3)
    feat = latent.feat
    expected = agent.policy.critic(feat) - agent.policy.world_model.reward(feat)
    found = agent.policy.value(latent)
    assert found is not None
    th.testing.assert_close(found, expected)


@pytest.mark.parametrize("cont", [True, False])
def test_what_a_dream_believes_of_ends(cont: bool) -> None:
    """Without a head predictions always go on; one contains gamma, which dreams take out."""
    small = {**DreamerV1.smallest["policy_kwargs"], "cont": cont, "cont_arch": [8]}
    agent = make_agent(policy_kwargs=small, gamma=0.9).learn(20)
    latent = agent.world_model.initial(4)
    _, goes_on = agent.world_model.predict(latent)
    assert agent.world_model.gamma == (pytest.approx(0.9) if cont else 1.0)
    if not cont:
        assert (goes_on == 1.0).all()
    assert ("train/cont_loss" in agent.logger.name_to_value) == cont


def test_a_policy_keeps_what_its_model_has_learned_of_rewards(tmp_path: Path) -> None:
    agent = make_agent(reward_transform="tanh", gradient_steps=0).learn(20)
    agent.policy.save(tmp_path / "policy")
    assert type(agent.policy).load(tmp_path / "policy").world_model.reward_transform == "tanh"
    agent.reward_transform = "identity"  # for what is learned from now on
    assert agent.policy.world_model.reward_transform == "tanh"
    agent.losses(agent.recorded_sequences(np.random.default_rng(0)))
    agent.policy.save(tmp_path / "policy")
    assert type(agent.policy).load(tmp_path / "policy").world_model.reward_transform == "identity"


@pytest.mark.parametrize(("name", "value"), [("gamma", 0.5), ("reward_transform", "tanh")])
def test_what_the_agent_tells_its_policy_is_no_argument_of_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"policy_kwargs has {name}=.*beside policy_kwargs"):
        DreamerV1("MlpPolicy", "Pendulum-v1", policy_kwargs={name: value})
