"""Mistakes that reimplementations of Dreamer V1 make, one test each."""

import math

import pytest
import torch as th

from dreamzoo.dreamer_v1.losses import behavior_loss, world_model_loss
from dreamzoo.nn.action_distributions import TanhNormalActions
from dreamzoo.nn.dreamer_model import Imagined
from dreamzoo.nn.returns import inclusive_lambda_return
from tests.dreamer_v1.test_oracle import SETTINGS, make_networks
from tests.dreamers import ACTIONS, VECTOR, make_rows, to_batch

H, N, F = 4, 3, 5
GOES_ON = th.zeros(N, dtype=th.bool)


def _dream() -> Imagined:
    parts = [th.rand(H + 1, N, requires_grad=True) for _ in range(4)]
    parts[-1] = parts[-1][:-1].detach().requires_grad_()  # nobody learns the last state's value
    actions = th.zeros(H, N, 2)
    return Imagined(th.randn(H + 1, N, F), TanhNormalActions(actions, actions), actions, *parts)


def test_the_state_that_a_dream_starts_from_does_not_count() -> None:
    """Pitfall 1: no action of the dream led to it."""
    dream = _dream()
    terms, _ = behavior_loss(dream, GOES_ON, gae_lambda=0.95)
    total = terms["actor"] + terms["critic"]
    for gradient in th.autograd.grad(total, [dream.reward, dream.discount, dream.value]):
        assert not gradient[0].any()
        assert gradient[1:].any()


def test_a_dream_whose_start_was_not_judged_has_the_same_losses() -> None:
    dream = _dream()
    names = ("reward", "discount", "value", "prediction")
    later = dream._replace(**{name: getattr(dream, name)[1:] for name in names})
    expected, _ = behavior_loss(dream, GOES_ON, gae_lambda=0.95)
    found, metrics = behavior_loss(later, GOES_ON, gae_lambda=0.95)
    for name, term in expected.items():
        assert th.equal(found[name], term)
    assert metrics["imagined_reward"].shape == (H, N)


def test_the_actor_climbs_the_weighted_returns_and_weights_have_no_gradient() -> None:
    dream = _dream()
    terms, _ = behavior_loss(dream, GOES_ON, gae_lambda=0.9)
    reward, discount, value = (x[1:] for x in (dream.reward, dream.discount, dream.value))
    returns = inclusive_lambda_return(reward, discount, value, 0.9)
    weights = [
        math.prod([discount[i].detach() for i in range(k)], start=th.ones(N)) for k in range(3)
    ]
    expected = -(th.stack(weights) * returns).mean()
    th.testing.assert_close(terms["actor"], expected)
    sources = [dream.reward, dream.discount, dream.value]
    found = th.autograd.grad(terms["actor"], sources, retain_graph=True)
    for one, other in zip(found, th.autograd.grad(expected, sources), strict=True):
        th.testing.assert_close(one, other)


def test_the_critic_learns_returns_that_are_held_fixed() -> None:
    dream = _dream()
    terms, metrics = behavior_loss(dream, GOES_ON, gae_lambda=0.95)
    sources = [dream.reward, dream.discount, dream.value]
    found = th.autograd.grad(terms["critic"], sources, allow_unused=True, retain_graph=True)
    assert found == (None, None, None)
    error = dream.prediction[1:] - metrics["imagined_return"]
    th.testing.assert_close(terms["critic"], (0.5 * metrics["weight"] * error**2).mean())
    (gradient,) = th.autograd.grad(terms["critic"], dream.prediction)
    assert gradient[1:].all()
    assert not gradient[0].any()


def test_nothing_counts_that_is_imagined_after_an_end() -> None:
    """Pitfall 14: in rows over several episodes ends lie anywhere, not only at a row's end."""
    dream = _dream()
    ended = th.tensor([False, True, False])
    terms, metrics = behavior_loss(dream, ended, gae_lambda=0.95)
    assert not metrics["weight"][:, 1].any()
    assert metrics["weight"][0, 0] == 1.0
    for gradient in th.autograd.grad(terms["actor"], [dream.reward, dream.value]):
        assert not gradient[:, 1].any()
        assert gradient[:, 0].any()


@pytest.mark.parametrize("above", [True, False])
def test_free_nats_are_clipped_after_the_mean(above: bool) -> None:
    """Pitfall 4: all of the KL's gradient is gone below the free nats, and none of it above."""
    n = make_networks(VECTOR, ACTIONS["box"], SETTINGS)
    batch = to_batch(make_rows(VECTOR, ACTIONS["box"], 3, 5, seed=0), ACTIONS["box"])
    filtered = n.filter(batch)
    alive = 0.93 * (~batch.is_terminal).float()
    _, metrics = world_model_loss(n.world_model, filtered, batch.rewards, alive, 0.0)
    kl = metrics["kl"]
    assert kl.shape == (3, 5)
    free = kl.mean().item() * (0.99 if above else 1.01)
    assert (kl < free).any()
    assert (kl > free).any()
    terms, _ = world_model_loss(n.world_model, filtered, batch.rewards, alive, free)
    sources = list(n.world_model.dynamics.parameters())
    found = th.autograd.grad(terms["kl"], sources, retain_graph=True)
    expected = th.autograd.grad(kl.mean(), sources)
    for one, other in zip(found, expected, strict=True):
        th.testing.assert_close(one, other if above else th.zeros_like(other))


def test_a_time_limit_is_not_the_end_for_the_continue_head() -> None:
    """Pitfall 7: targets are gamma there, as the caller says it, and zero at true ends only."""
    n = make_networks(VECTOR, ACTIONS["box"], {**SETTINGS, "use_cont": True})
    rows = make_rows(VECTOR, ACTIONS["box"], 3, 6, seed=0)
    batch = to_batch(rows, ACTIONS["box"])
    records = [record for row in rows for record in row.records]
    assert any(record.last and not record.terminal for record in records)
    filtered = n.filter(batch)
    alive = 0.93 * (~batch.is_terminal).float()
    terms, _ = world_model_loss(n.world_model, filtered, batch.rewards, alive, 0.0)
    p = th.sigmoid(n.world_model.cont(filtered.latent.feat))[..., 0].flatten()
    expected = 0.0
    for probability, record in zip(p.tolist(), records, strict=True):
        target = 0.0 if record.terminal else 0.93
        expected -= target * math.log(probability) + (1 - target) * math.log(1 - probability)
    assert terms["cont"].item() == pytest.approx(expected / len(records), rel=1e-5)
