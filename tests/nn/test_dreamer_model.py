"""The world model of the first two Dreamers: what its networks read and what it predicts."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.nn.action_distributions import TruncatedNormalActions
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.gaussian import GaussianRSSM
from tests.dreamers import ACTIONS, VECTOR, Networks

IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)
DYNAMICS = partial(GaussianRSSM, deter=6, stoch=3, units=7, activation="elu")


def _make(observations: spaces.Space, **kwargs: Any) -> Networks:
    given = {"use_cont": False, "gamma": 0.9, **kwargs}
    return Networks(observations, ACTIONS["box"], DYNAMICS, TruncatedNormalActions, **given)


def test_images_are_read_around_zero_the_same_in_training_and_acting() -> None:
    """Pitfall 10: x / 255 - 0.5 without noise, by one function."""
    model = _make(IMAGE).world_model
    images = th.randint(256, (2, 3, 3, 64, 64), dtype=th.uint8)
    read = model.inputs(images, 2, th.Generator())["observation"].view(images.shape)
    th.testing.assert_close(read, images.float() / 255 - 0.5)
    for t in range(3):
        one = model.inputs(images[:, t], 1, mode=True)["observation"]
        assert th.equal(one, read[:, t])
    back = model.codec.decode(model.outputs({"observation": read.flatten(0, 1)}))
    assert isinstance(back, th.Tensor)
    assert th.equal(back, images.flatten(0, 1))


def test_pixels_are_summed_and_steps_averaged() -> None:
    """Pitfall 5: averaged over pixels, KL and reward would dominate by a factor of 12,288."""
    n = _make(IMAGE)
    decoder, target = n.world_model.decoder, {"observation": th.rand(2, 3, 64, 64) - 0.5}
    prediction = {"observation": th.zeros(2, 3, 64, 64)}
    expected = 0.5 * target["observation"].square().sum((1, 2, 3))
    th.testing.assert_close(decoder.loss(prediction, target)["observation"], expected)


@pytest.mark.parametrize("use_cont", [True, False])
def test_discount_is_predicted_or_a_constant(use_cont: bool) -> None:
    """A head's prediction contains gamma: it is not multiplied by it once more."""
    n = _make(VECTOR, use_cont=use_cont)
    feat = th.randn(4, 2, 9)
    found = n.world_model.discount(feat, 0.9)
    assert found.shape == (4, 2)
    assert n.world_model.learns_discount == use_cont
    if use_cont:
        th.testing.assert_close(found, th.sigmoid(n.world_model.cont(feat))[..., 0])
    else:
        assert (found == 0.9).all()


def test_rewards_and_continuation_have_the_likelihoods_of_a_normal_and_a_bernoulli() -> None:
    n = _make(VECTOR, use_cont=True)
    feat, rewards, alive = th.randn(2, 3, 9), th.randn(2, 3), 0.9 * (th.rand(2, 3) > 0.3).float()
    losses, metrics = n.world_model.prediction_losses(feat, 2 * feat, rewards, alive)
    normal = th.distributions.Normal(n.world_model.reward(feat), 1.0)
    constant = 0.5 * np.log(2 * np.pi)
    th.testing.assert_close(losses["reward"], -normal.log_prob(rewards).mean() - constant)
    p = th.sigmoid(n.world_model.cont(2 * feat))[..., 0]
    bernoulli = -(alive * p.log() + (1 - alive) * (1 - p).log()).mean()
    th.testing.assert_close(losses["cont"], bernoulli)
    th.testing.assert_close(metrics["discount"], p.detach())
    without, nothing = _make(VECTOR).world_model.prediction_losses(feat, feat, rewards, alive)
    assert without.keys() == {"reward"}
    assert not nothing


def test_imagination_judges_every_state_with_a_gradient_for_each_that_learns() -> None:
    n = _make(VECTOR, use_cont=True)
    start = n.world_model.initial(4)
    dream = n.world_model.imagine(start, n.actor, n.critic, 3, 0.9, th.Generator().manual_seed(0))
    generator = th.Generator().manual_seed(0)
    path = n.world_model.dynamics.imagine(start, n.actor, 3, generator)
    feat = path.feat
    th.testing.assert_close(dream.feat, feat)
    th.testing.assert_close(dream.actions, path.actions)
    th.testing.assert_close(dream.reward, n.world_model.reward(feat))
    th.testing.assert_close(dream.discount, n.world_model.discount(feat, 0.9))
    th.testing.assert_close(dream.value, n.critic(feat))
    th.stack([dream.reward, dream.discount, dream.value]).sum().backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.any() for p in n.actor.parameters())
    assert all(p.grad is None for p in (*n.world_model.parameters(), *n.critic.parameters()))
    th.testing.assert_close(dream.prediction, dream.value[:-1])
    dream.prediction.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in n.critic.parameters())
    assert all(p.grad is None for p in n.world_model.parameters())


@pytest.mark.parametrize("graph", [True, False])
def test_where_the_start_is_not_judged_all_else_stays_the_same(graph: bool) -> None:
    n = _make(VECTOR, use_cont=True)
    start = n.world_model.initial(4)
    dreams, gradients = [], []
    for judged in (True, False):
        generator = th.Generator().manual_seed(0)
        networks = start, n.actor, n.critic, 3, 0.9, generator
        dreams.append(n.world_model.imagine(*networks, graph=graph, judge_start=judged))
        parts = [dreams[-1].reward, dreams[-1].discount, dreams[-1].value, dreams[-1].prediction]
        later = [part[1:] if judged else part for part in parts]
        if graph:
            loss = th.stack([part.square().sum() for part in later]).sum()
            learning = [*n.actor.parameters(), *n.critic.parameters()]
            later += th.autograd.grad(loss, learning)
        gradients.append(later)
    assert th.equal(dreams[0].feat, dreams[1].feat)
    assert len(dreams[1].reward) == len(dreams[1].prediction) + 1 == 3
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other)


def test_nothing_reaches_back_into_the_states_where_a_dream_begins() -> None:
    n = _make(VECTOR)
    start = Latent(*(part.requires_grad_() for part in n.world_model.initial(4)))
    dream = n.world_model.imagine(start, n.actor, n.critic, 3, 0.9)
    assert dream.value.requires_grad
    assert th.autograd.grad(dream.value.sum(), list(start), allow_unused=True) == (None, None)


def test_without_a_graph_the_policy_alone_has_a_gradient() -> None:
    n = _make(VECTOR, use_cont=True)
    dreams = [
        n.world_model.imagine(
            n.world_model.initial(4),
            n.actor,
            n.critic,
            3,
            0.9,
            th.Generator().manual_seed(0),
            graph=graph,
        )
        for graph in (True, False)
    ]
    names = ("feat", "actions", "reward", "discount", "value")
    for name in names:
        one, other = (getattr(dream, name) for dream in dreams)
        th.testing.assert_close(one, other)
        assert one.requires_grad
        assert not other.requires_grad
    gradients = [
        th.autograd.grad(
            dream.policy.log_prob(dream.actions.detach()).sum(), list(n.actor.parameters())
        )
        for dream in dreams
    ]
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other)
        assert one.any()
