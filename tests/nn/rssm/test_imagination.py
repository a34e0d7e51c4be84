"""Imagination with a graph: who learns from it, who does not, and what is cut on the way."""

import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.nn.action_distributions import TanhNormalActions
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.networks.actors import DenseActor
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.imagination import frozen, imagine_with_gradient
from dreamzoo.nn.rssm.latents import OneHotLatents

SPACES = {"box": spaces.Box(-1, 1, (2,)), "discrete": spaces.Discrete(3)}
HORIZON = 3


def _parts(space: str) -> tuple[LayerNormRSSM, DenseActor, Latent]:
    codec = ActionCodec(SPACES[space])
    rssm = LayerNormRSSM(5, codec.dim, 4, 6, OneHotLatents(2, 3)).double()
    actor = DenseActor(4 + 6, [7], codec, TanhNormalActions).double()
    start = Latent(th.randn(5, 4).double(), th.randn(5, 2, 3).double())
    return rssm, actor, start


def _has_gradient(module: nn.Module) -> list[bool]:
    return [p.grad is not None for p in module.parameters()]


@pytest.mark.parametrize("space", SPACES)
def test_rollout_equals_single_steps(space: str) -> None:
    rssm, actor, start = _parts(space)
    feat, actions = imagine_with_gradient(
        rssm, start, actor, HORIZON, th.Generator().manual_seed(0)
    )
    generator, latent = th.Generator().manual_seed(0), start
    assert feat.shape == (HORIZON + 1, 5, 10)
    th.testing.assert_close(feat[0], start.feat)
    for t in range(HORIZON):
        action = actor(latent.feat).sample(generator)
        th.testing.assert_close(actions[t], action)
        latent = rssm.imagine_step(latent, action, generator)
        th.testing.assert_close(feat[t + 1], latent.feat)


@pytest.mark.parametrize("space", SPACES)
def test_the_actor_learns_and_the_frozen_model_does_not(space: str) -> None:
    """Pitfall 2: no_grad would cut the path, an unfrozen model would learn to please."""
    rssm, actor, start = _parts(space)
    critic = nn.Linear(10, 1).double()
    with frozen(rssm, critic):
        feat, _ = imagine_with_gradient(rssm, start, actor, HORIZON)
        loss = critic(feat[-1]).sum()
    loss.backward()
    assert all(_has_gradient(actor))
    assert all(p.grad is not None and p.grad.any() for p in actor.parameters())
    assert not any(_has_gradient(rssm))
    assert not any(_has_gradient(critic))


def test_freezing_changes_no_gradient_of_the_actor() -> None:
    rssm, actor, start = _parts("discrete")
    gradients = []
    for modules in ((rssm,), ()):
        with frozen(*modules):
            feat, _ = imagine_with_gradient(
                rssm, start, actor, HORIZON, th.Generator().manual_seed(0)
            )
        gradients.append(th.autograd.grad(feat[-1].square().sum(), list(actor.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert th.equal(one, other)


def test_a_model_that_was_frozen_learns_again_and_from_what_was_recorded_before() -> None:
    layer, other = nn.Linear(2, 1), nn.Linear(1, 1)
    other.bias.requires_grad_(False)
    before = layer(th.ones(1, 2))

    def fail() -> None:
        with frozen(layer, other):
            assert not any(p.requires_grad for p in layer.parameters())
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert [p.requires_grad for p in (*layer.parameters(), *other.parameters())] == [
        *(True, True),
        *(True, False),
    ]
    before.sum().backward()
    assert all(_has_gradient(layer))


def test_nothing_reaches_back_into_the_states_where_a_dream_begins() -> None:
    rssm, actor, start = _parts("box")
    start = Latent(*(part.requires_grad_() for part in start))
    feat, _ = imagine_with_gradient(rssm, start, actor, HORIZON)
    found = th.autograd.grad(feat.sum(), list(start), allow_unused=True)
    assert found == (None, None)


def test_an_action_has_no_gradient_through_the_state_that_it_was_chosen_in() -> None:
    """The last action depends on earlier ones through what the actor sees: that way is cut."""
    rssm, actor, start = _parts("box")
    seen: list[Tensor] = []

    def watch(feat: Tensor) -> TanhNormalActions:
        seen.append(feat)
        policy = actor(feat)
        assert isinstance(policy, TanhNormalActions)
        return policy

    feat, _ = imagine_with_gradient(rssm, start, watch, HORIZON)
    assert len(seen) == HORIZON
    assert not any(x.requires_grad for x in seen)
    assert feat[-1].requires_grad
