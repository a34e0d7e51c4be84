"""Mistakes that reimplementations of DreamerV2 make, one test each."""

import math
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.dreamer_v2.losses import Dream, balanced_kl, behavior_loss, imagine, world_model_loss
from dreamzoo.nn.beliefs import Belief, Categorical
from dreamzoo.nn.networks.world_models import NormalHead
from dreamzoo.nn.returns import inclusive_lambda_return
from dreamzoo.nn.state import flatten
from tests.dreamer_v2.test_oracle import SETTINGS, make_networks
from tests.dreamers import ACTIONS, VECTOR, Networks, make_rows, to_batch

H, N, F = 4, 3, 5


def _dream(**parts: Tensor) -> Dream:
    shapes = dict.fromkeys(("reward", "discount", "slow_value"), (H + 1, N))
    shapes |= dict.fromkeys(("log_prob", "entropy"), (H - 1, N))
    given: dict[str, Any] = {name: th.rand(shape) for name, shape in shapes.items()}
    return Dream(**{"feat": th.randn(H + 1, N, F), **given, **parts})


def _losses(dream: Dream, **kwargs: float) -> dict[str, Tensor]:
    given = {"rho": 1.0, "ent_coef": 0.0, "gae_lambda": 0.95, **kwargs}
    return behavior_loss(dream, NormalHead(F, [4], "elu"), **given)[0]


def _logits() -> tuple[Tensor, Tensor]:
    post, prior = th.randn(2, 3, 4, 5), th.randn(2, 3, 4, 5)
    return post.double().requires_grad_(), prior.double().requires_grad_()


def _kl_gradients(balance: float | None, free: float = 0.0) -> tuple[float, Tensor, Tensor]:
    th.manual_seed(0)
    post, prior = _logits()
    belief = Belief(Categorical.from_logits(post), lambda: Categorical.from_logits(prior))
    loss, _ = balanced_kl(belief, balance, free)
    to_post, to_prior = th.autograd.grad(loss, [post, prior])
    return loss.item(), to_post, to_prior


def test_kl_is_summed_over_latents_and_averaged_over_steps() -> None:
    """Pitfall 4, against torch's own divergence."""
    value, _, _ = _kl_gradients(None)
    th.manual_seed(0)
    post, prior = (th.distributions.Categorical(logits=x.detach()) for x in _logits())
    expected = th.distributions.kl_divergence(post, prior).sum(-1).mean()
    assert value == pytest.approx(expected.item())


def test_kl_balancing_gives_the_prior_four_fifths_of_the_gradient() -> None:
    plain, to_post, to_prior = _kl_gradients(None)
    balanced, post, prior = _kl_gradients(0.8)
    assert balanced == pytest.approx(plain)
    th.testing.assert_close(prior, 0.8 * to_prior)
    th.testing.assert_close(post, 0.2 * to_post)


def test_a_balance_of_one_half_is_not_the_plain_divergence() -> None:
    """Pitfall 4: it halves every gradient."""
    _, to_post, to_prior = _kl_gradients(None)
    _, post, prior = _kl_gradients(0.5)
    th.testing.assert_close(post, 0.5 * to_post)
    th.testing.assert_close(prior, 0.5 * to_prior)


@pytest.mark.parametrize("balance", [None, 0.8])
def test_free_nats_are_clipped_after_the_mean(balance: float | None) -> None:
    """Some steps lie below the free nats, their mean above: nothing is clipped."""
    value, post, _ = _kl_gradients(balance)
    below, some, _ = _kl_gradients(balance, free=value - 1e-3)
    assert below == pytest.approx(value)
    th.testing.assert_close(some, post)
    above, none, _ = _kl_gradients(balance, free=value + 1e-3)
    assert above == pytest.approx(value + 1e-3)
    assert not none.any()


def test_an_action_is_judged_by_the_return_of_the_state_that_it_leads_to() -> None:
    """Pitfall 1: the return of its own state begins with a reward that was there before it."""
    log_prob = th.zeros(H - 1, N, requires_grad=True)
    dream = _dream(log_prob=log_prob)
    (found,) = th.autograd.grad(_losses(dream)["actor"], log_prob)
    reward, discount, value = dream.reward, dream.discount, dream.slow_value
    returns = inclusive_lambda_return(reward, discount, value, 0.95)
    for k in range(H - 1):
        weight = math.prod([discount[i] for i in range(k)], start=th.ones(N))
        expected = -weight * (returns[k + 1] - value[k]) / (N * (H - 1))
        th.testing.assert_close(found[k], expected)


def test_the_rewards_share_of_reinforce_has_no_gradient_of_the_returns() -> None:
    reward = th.rand(H + 1, N, requires_grad=True)
    dream = _dream(reward=reward)
    (none,) = th.autograd.grad(_losses(dream, rho=1.0)["actor"], reward)
    assert not none.any()
    (found,) = th.autograd.grad(_losses(dream, rho=0.25)["actor"], reward)
    (whole,) = th.autograd.grad(_losses(dream, rho=0.0)["actor"], reward)
    th.testing.assert_close(found, 0.75 * whole)
    assert not found[0].any()  # of the state before every action


def test_entropy_is_rewarded_and_weighted() -> None:
    entropy = th.zeros(H - 1, N, requires_grad=True)
    dream = _dream(entropy=entropy)
    (found,) = th.autograd.grad(_losses(dream, ent_coef=0.3)["actor"], entropy)
    weight = th.cat([th.ones(1, N), dream.discount[: H - 2].cumprod(0)])
    th.testing.assert_close(found, -0.3 * weight / (N * (H - 1)))


def test_nothing_after_a_terminal_start_counts() -> None:
    """Pitfall 14: its discount is known to be zero, whatever the head says."""
    n = make_networks(VECTOR, ACTIONS["discrete"], SETTINGS)
    start = n.world_model.initial(2)
    ended = th.tensor([True, False])
    dream = imagine(
        n.world_model,
        n.actor,
        n.critic_target,
        start,
        ended,
        3,
        gamma=0.93,
        through_dynamics=False,
    )
    assert dream.discount[0].tolist() == pytest.approx([0.0, 0.93])
    predicted = n.world_model.discount(dream.feat, 0.93)
    assert th.equal(dream.discount[1:], predicted[1:])
    assert not dream.reward.requires_grad
    critic = NormalHead(dream.feat.shape[-1], [4], "elu")
    _, metrics = behavior_loss(dream, critic, rho=1.0, ent_coef=0.0, gae_lambda=0.9)
    assert metrics["weight"][:, 0].tolist() == [1.0, 0.0, 0.0, 0.0]


def _behavior_gradients(space: str, rho: float) -> tuple[Networks, dict[str, Tensor]]:
    th.manual_seed(3)
    settings = {**SETTINGS, "rho": rho}
    n = make_networks(VECTOR, ACTIONS[space], settings)
    batch = to_batch(make_rows(VECTOR, ACTIONS[space], 2, 4, seed=0), ACTIONS[space])
    with th.no_grad():
        latent = n.filter(batch).latent
    dream = imagine(
        n.world_model,
        n.actor,
        n.critic_target,
        flatten(latent, 0, 1),
        batch.is_terminal.flatten(),
        4,
        gamma=0.93,
        through_dynamics=rho < 1,
        generator=th.Generator().manual_seed(0),
    )
    terms, _ = behavior_loss(dream, n.critic, rho=rho, ent_coef=0.0, gae_lambda=0.9)
    return n, terms


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("space", ["box", "discrete"])
def test_behavior_changes_neither_world_model_nor_slow_critic(space: str, rho: float) -> None:
    """Pitfall 2: stray gradients would be added to the model's own."""
    n, terms = _behavior_gradients(space, rho)
    terms["actor"].backward(retain_graph=True)
    others = (*n.world_model.parameters(), *n.critic_target.parameters())
    assert all(p.grad is None for p in (*others, *n.critic.parameters()))
    assert all(p.grad is not None and p.grad.any() for p in n.actor.parameters())
    n.zero_grad()
    terms["critic"].backward()
    assert all(p.grad is None for p in (*others, *n.actor.parameters()))
    assert all(p.grad is not None for p in n.critic.parameters())


@pytest.mark.parametrize("space", ["box", "discrete"])
def test_score_has_no_gradient_through_the_action(space: str) -> None:
    """Pitfall 3: REINFORCE is the same whether or not the dream keeps its graph."""
    gradients = []
    for through_dynamics in (True, False):
        th.manual_seed(3)
        n = make_networks(VECTOR, ACTIONS[space], SETTINGS)
        dream = imagine(
            n.world_model,
            n.actor,
            n.critic_target,
            n.world_model.initial(6),
            th.zeros(6, dtype=th.bool),
            4,
            gamma=0.93,
            through_dynamics=through_dynamics,
            generator=th.Generator().manual_seed(0),
        )
        terms, _ = behavior_loss(dream, n.critic, rho=1.0, ent_coef=0.0, gae_lambda=0.9)
        gradients.append(th.autograd.grad(terms["actor"], list(n.actor.parameters())))
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other)
        assert one.any()


@pytest.mark.parametrize(
    ("ablation", "term", "head"),
    [("image_gradients", "recon", "decoder"), ("reward_gradients", "reward", "reward")],
)
def test_ablations_of_gradients_cut_exactly_one(ablation: str, term: str, head: str) -> None:
    """Table 2: the head still learns, the rest of the model no longer learns from it."""
    n = make_networks(VECTOR, ACTIONS["discrete"], SETTINGS)
    batch = to_batch(make_rows(VECTOR, ACTIONS["discrete"], 2, 4, seed=0), ACTIONS["discrete"])
    names = dict(n.world_model.named_parameters())
    learned: dict[bool, dict[str, set[str]]] = {}
    for kept in (True, False):
        th.manual_seed(0)
        filtered = n.filter(batch)
        given: dict[str, Any] = {"kl_balance": 0.8, "free_nats": 0.0, ablation: kept}
        alive = 0.93 * (~batch.is_terminal).float()
        terms, _ = world_model_loss(n.world_model, filtered, batch.rewards, alive, **given)
        learned[kept] = {}
        for name, loss in terms.items():
            found = th.autograd.grad(
                loss, list(names.values()), retain_graph=True, allow_unused=True
            )
            learned[kept][name] = {k for k, g in zip(names, found, strict=True) if g is not None}
    changed = {name for name in terms if learned[True][name] != learned[False][name]}
    assert changed == {term}
    assert learned[False][term] == {k for k in names if k.startswith(f"{head}.")}
    assert any(k.startswith("encoder.") for k in learned[True][term])
