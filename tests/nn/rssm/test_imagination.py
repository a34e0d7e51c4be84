"""Imagination of every model, with a graph and without one, against a plain loop over its steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.action_distributions import TanhNormalActions, TruncatedNormalActions
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.networks.actors import DenseActor
from dreamzoo.nn.networks.heads import Actor
from dreamzoo.nn.rssm.block import BlockRSSM
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent
from dreamzoo.nn.rssm.gaussian import GaussianRSSM, GaussianSSM
from dreamzoo.nn.rssm.imagination import frozen
from dreamzoo.nn.rssm.kinds import make_latents
from dreamzoo.nn.rssm.latents import NormalLatents, OneHotLatents
from dreamzoo.nn.state import select
from tests.nn.widths import of_dynamics

A, N, H = 3, 4, 3  # width of an action, starts, steps

DYNAMICS: dict[str, Callable[[], Dynamics]] = {
    "planet": lambda: GaussianRSSM(5, A, 7, 3, 6),
    "planet-ssm": lambda: GaussianSSM(5, A, 3, 6),
    "dreamer_v2": lambda: LayerNormRSSM(5, A, 6, 7, OneHotLatents(3, 4)),
    "dreamer_v2-normal": lambda: LayerNormRSSM(5, A, 6, 7, NormalLatents(3)),
    "dreamer_v2-gumbel": lambda: LayerNormRSSM(5, A, 6, 7, make_latents("gumbel", 3, 4)),
    "dreamer_v2-st-gumbel": lambda: LayerNormRSSM(5, A, 6, 7, make_latents("st_gumbel", 3, 4)),
    "dreamer_v2-vq": lambda: LayerNormRSSM(5, A, 6, 7, make_latents("vq", 3, 4, code_dim=2)),
    "dreamer_v3": lambda: BlockRSSM(5, A, **of_dynamics(SIZES["debug"])),
}
#: Actors of the first two Dreamers, whose draws have a gradient.
ACTORS: dict[str, tuple[spaces.Space, Any]] = {
    "tanh-normal": (spaces.Box(-1, 1, (A,)), TanhNormalActions),
    "truncated": (spaces.Box(-1, 1, (A,)), TruncatedNormalActions),
    "one-hot": (spaces.Discrete(A), TruncatedNormalActions),
}
dynamics_of_all = pytest.mark.parametrize("name", DYNAMICS)


def make(name: str) -> tuple[Dynamics, Latent]:
    """Return a model in float64 whose parts all matter, and N starts with a gradient."""
    th.manual_seed(0)
    model = DYNAMICS[name]().double()
    for p in model.parameters():
        p.data += 0.3 * th.randn_like(p)
    empty = model.initial(N)
    return model, Latent(*(th.randn_like(part).requires_grad_() for part in empty))


def make_actor(kind: str, feat: int) -> DenseActor:
    space, continuous = ACTORS[kind]
    return DenseActor(feat, [6], ActionCodec(space), continuous).double()


def seeded() -> th.Generator:
    return th.Generator().manual_seed(3)


def grads(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Return gradients of a random function of the outputs."""
    noise = th.Generator().manual_seed(9)
    weights = [th.randn(x.shape, generator=noise, dtype=x.dtype) for x in outputs]
    loss = th.stack([(x * w).sum() for x, w in zip(outputs, weights, strict=True)]).sum()
    return list(th.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True))


@dynamics_of_all
@pytest.mark.parametrize("kind", ACTORS)
@pytest.mark.parametrize("mode", [False, True])
def test_gradients_equal_those_of_a_plain_loop(name: str, kind: str, mode: bool) -> None:
    """For starts, every weight of the model and of the actor, to float64 precision."""
    model, start = make(name)
    actor = make_actor(kind, start.feat.shape[1])
    leaves = [p for p in start if p.numel()] + [*model.parameters(), *actor.parameters()]
    dream = model.imagine(start, actor, H, seeded(), mode=mode)
    state, generator = start, seeded()
    feats, actions, entropies = [start.feat], [], []
    for _ in range(H):
        policy = actor(state.feat.detach())
        actions.append(policy.mode() if mode else policy.sample(generator))
        state = model.imagine_step(state, actions[-1], generator, mode=mode)
        feats.append(state.feat)
        entropies.append(policy.entropy())
    fast = [dream.feat, dream.actions, dream.policy.entropy()]
    slow = [th.stack(parts) for parts in (feats, actions, entropies)]
    assert dream.feat.shape[:2] == (H + 1, N)
    for one, other in zip(fast, slow, strict=True):
        th.testing.assert_close(one, other)
    found, expected = grads(fast, leaves), grads(slow, leaves)
    assert sum(bool(x.any()) for x in expected) > len(leaves) // 2
    for one, other in zip(found, expected, strict=True):
        th.testing.assert_close(one, other)


@dynamics_of_all
def test_the_actor_learns_from_what_its_actions_lead_to_alone(name: str) -> None:
    model, start = make(name)
    actor = make_actor("tanh-normal", start.feat.shape[1])
    dream = model.imagine(start, actor, H, seeded())
    weights = [actor.out.weight, start.stoch]
    of_actor, of_start = grads([dream.feat[-1]], weights)
    assert of_actor.any()
    assert of_start.any()
    of_actor, of_start = grads([dream.policy.entropy()], weights)
    assert of_actor.any()
    assert not of_start.any()  # the features that it reads are cut off


@pytest.mark.parametrize("name", ["planet", "planet-ssm", "dreamer_v2-normal", "dreamer_v2-gumbel"])
def test_given_actions_have_true_gradients(name: str) -> None:
    """Against finite differences: these latents move smoothly with what led to them."""
    model, start = make(name)
    actions = th.rand(H, N, A, dtype=th.float64, requires_grad=True)

    def follow(deter: Tensor, stoch: Tensor, actions: Tensor) -> Tensor:
        return model.imagine(Latent(deter, stoch), actions, generator=seeded()).feat[1:]

    th.autograd.gradcheck(follow, (*start, actions))


@dynamics_of_all
@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("form", ["fast", "plain"])
def test_given_actions_lead_from_state_to_state(name: str, mode: bool, form: Any) -> None:
    """The same numbers, and the same random ones, as step by step; without a graph, too."""
    model, start = make(name)
    actions = th.rand(H, N, A, dtype=th.float64)
    for graph in (True, False):
        one, other = seeded(), seeded()
        with use(form):
            path = model.imagine(start, actions, generator=one, mode=mode, graph=graph)
        assert path.feat.requires_grad == graph
        state = start
        for t in range(H + 1):
            if t:
                state = model.imagine_step(state, actions[t - 1], other, mode=mode)
            for part, same in zip(select(path.states, t), state, strict=True):
                th.testing.assert_close(part, same)
        th.testing.assert_close(path.states.feat, path.feat)
        assert path.actions is actions
        assert path.policy is None
        assert th.equal(one.get_state(), other.get_state())


@dynamics_of_all
@pytest.mark.parametrize("kind", ["dense", "block"])
def test_without_a_graph_only_the_actors_own_evaluation_has_a_gradient(
    name: str, kind: str
) -> None:
    model, start = make(name)
    model, start = model.float(), Latent(*(x.float() for x in start))
    width = start.feat.shape[1]
    codec = ActionCodec(spaces.Box(-1, 1, (A,)))
    actor: Any = (
        Actor(width, [6], codec, outscale=1.0)
        if kind == "block"
        else make_actor("truncated", width).float()
    )
    dream = model.imagine(start, actor, H, seeded(), graph=False)
    assert not dream.feat.requires_grad
    assert not dream.actions.requires_grad
    assert not any(part.requires_grad for part in dream.states)
    th.testing.assert_close(dream.states.feat, dream.feat)
    again = actor(dream.feat[:-1])
    leaves = [*actor.parameters(), *model.parameters()]
    logs = [policy.log_prob(dream.actions) for policy in (dream.policy, again)]
    found, expected = (grads([x], leaves) for x in logs)
    th.testing.assert_close(*(x.detach() for x in logs))
    for one, other in zip(found, expected, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert all(x.any() for x in found[: len(list(actor.parameters()))])


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (A,)), spaces.Discrete(A)])
def test_the_actor_of_dreamer_v3_is_imagined_with_a_graph_where_one_is_wanted(
    space: spaces.Space,
) -> None:
    """Its fast form has none through the model: with it, nothing would reach the starts."""
    th.manual_seed(0)
    model = DYNAMICS["dreamer_v3"]()
    for p in model.parameters():
        p.data += 0.3 * th.randn_like(p)
    start = Latent(*(th.randn_like(part).requires_grad_() for part in model.initial(N)))
    actor = Actor(start.feat.shape[1], [6], ActionCodec(space), outscale=1.0)
    dream = model.imagine(start, actor, H, seeded())
    (of_start,) = grads([dream.feat[-1]], [start.deter])
    assert of_start.any()
    with th.no_grad():
        assert not model.imagine(start, actor, H, seeded()).policy.entropy().requires_grad


@dynamics_of_all
def test_the_most_likely_future_needs_no_random_numbers(name: str) -> None:
    model, start = make(name)
    actor, generator = make_actor("one-hot", start.feat.shape[1]), seeded()
    for graph in (True, False):
        dream = model.imagine(start, actor, H, generator, mode=True, graph=graph)
        again = model.imagine(start, actor, H, mode=True, graph=graph)
        assert th.equal(dream.feat, again.feat)
        assert th.equal(dream.actions.argmax(-1), dream.policy.mode().argmax(-1))
    assert th.equal(generator.get_state(), seeded().get_state())


@pytest.mark.parametrize("name", ["planet", "dreamer_v3"])
@pytest.mark.parametrize("graph", [True, False])
def test_an_actor_needs_a_horizon_and_given_actions_have_theirs(name: str, graph: bool) -> None:
    model, start = make(name)
    actor = make_actor("one-hot", start.feat.shape[1])
    with pytest.raises(ValueError, match="needs a horizon"):
        model.imagine(start, actor, graph=graph)
    actions = th.from_numpy(np.zeros((H, N, A)))
    with pytest.raises(ValueError, match=f"horizon={H + 1}.* for {H} steps"):
        model.imagine(start, actions, H + 1, graph=graph)
    assert len(model.imagine(start, actions, H, graph=graph).feat) == H + 1


def frozen_parts(kind: str) -> tuple[Dynamics, DenseActor, Latent]:
    model, start = make("dreamer_v2")
    return model, make_actor(kind, start.feat.shape[1]), start.detach()


def has_gradient(module: nn.Module) -> list[bool]:
    return [p.grad is not None for p in module.parameters()]


@pytest.mark.parametrize("kind", ["tanh-normal", "one-hot"])
def test_the_actor_learns_and_the_frozen_model_does_not(kind: str) -> None:
    """Pitfall 2: no_grad would cut the path, an unfrozen model would learn to please."""
    model, actor, start = frozen_parts(kind)
    critic = nn.Linear(start.feat.shape[1], 1).double()
    with frozen(model, critic):
        loss = critic(model.imagine(start, actor, H).feat[-1]).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in actor.parameters())
    assert not any(has_gradient(model))
    assert not any(has_gradient(critic))


def test_freezing_changes_no_gradient_of_the_actor() -> None:
    model, actor, start = frozen_parts("one-hot")
    gradients = []
    for modules in ((model,), ()):
        with frozen(*modules):
            feat = model.imagine(start, actor, H, seeded()).feat
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
    assert all(has_gradient(layer))
