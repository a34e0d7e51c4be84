"""Beliefs about codes: what is found, what is expected, and which way gradients go."""

import itertools
import math
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical, divergences
from dreamzoo.nn.codes import ExpectedCodes, NearestCodes, look_up

N, S, C, W = 5, 2, 3, 4


def codebooks() -> Tensor:
    return th.randn(S, C, W, generator=th.Generator().manual_seed(0)).double()


def found(places: Tensor) -> NearestCodes:
    vectors = th.randn(*places.shape, W).double().requires_grad_()
    return NearestCodes(vectors, look_up(codebooks(), places), places)


def expected(seed: int = 1) -> tuple[ExpectedCodes, Tensor]:
    generator = th.Generator().manual_seed(seed)
    logits = th.randn(N, S, C, generator=generator).double().requires_grad_()
    return ExpectedCodes(Categorical.from_logits(logits), codebooks()), logits


def random_places(*shape: int) -> Tensor:
    return th.randint(C, (*shape, S), generator=th.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", [(N,), (2, N)])
def test_codes_are_those_of_their_own_latent(shape: tuple[int, ...]) -> None:
    codes, places = codebooks(), random_places(*shape)
    looked_up = look_up(codes, places)
    assert looked_up.shape == (*shape, S, W)
    for row in itertools.product(*map(range, shape)):
        for latent in range(S):
            assert th.equal(looked_up[row][latent], codes[latent, places[row][latent]])


@pytest.mark.parametrize("how", ["sample", "mode"])
def test_the_gradient_passes_codes_as_if_they_were_not_there(how: str) -> None:
    """The Jacobian of the code to the vector is the identity; the number is the code exactly."""
    belief = found(random_places(N))

    def take(vectors: Tensor) -> Tensor:
        return getattr(belief._replace(vectors=vectors), how)()

    assert th.equal(take(belief.vectors), belief.codes)
    jacobian = th.autograd.functional.jacobian(take, belief.vectors)
    assert th.equal(jacobian.view(N * S * W, N * S * W), th.eye(N * S * W).double())


def test_the_divergence_is_that_of_a_certain_belief_by_enumeration() -> None:
    """Over all joint codes of the latents, 0 log 0 being zero."""
    places = random_places(N)
    prior = expected()[0].detach()
    divergence = found(places).kl(prior)
    assert divergence.shape == (N,)
    for row in range(N):
        total = 0.0
        for joint in itertools.product(range(C), repeat=S):
            q = float(list(joint) == places[row].tolist())
            p = math.prod(float(prior.classes.probs[row, s, c]) for s, c in enumerate(joint))
            total += q * math.log(q / p) if q else 0.0
        assert float(divergence[row]) == pytest.approx(total)


def test_the_divergence_teaches_the_expectation_alone() -> None:
    """Which code is the nearest one has no gradient, so that balancing finds one side only."""
    post, (prior, logits) = found(random_places(N)), expected()
    both: tuple[Any, Any] = (post, prior)
    result = divergences(*both)
    assert th.equal(result.dyn, result.rep)
    assert not result.rep.requires_grad
    assert not post.kl(prior.detach()).requires_grad
    for divergence in (result.dyn, post.kl(prior)):
        (grad,) = th.autograd.grad(divergence.sum(), logits, retain_graph=True)
        one_hot = th.nn.functional.one_hot(post.places, C)
        th.testing.assert_close(grad, prior.classes.probs.detach() - one_hot)
        (none,) = th.autograd.grad(
            divergence.sum(), post.vectors, retain_graph=True, allow_unused=True
        )
        assert none is None


def test_entropies_are_none_and_that_of_the_classes() -> None:
    prior, _ = expected()
    post = found(random_places(N))
    assert post.entropy().tolist() == [0.0] * N
    probs = prior.classes.probs
    th.testing.assert_close(prior.entropy(), -(probs * probs.log()).sum((-2, -1)))


@pytest.mark.parametrize("how", ["sample", "mode"])
def test_expected_codes_are_drawn_and_carry_the_gradient_of_their_mean(how: str) -> None:
    """Against a loop: the cumulative distribution inverted, and straight through."""
    prior, logits = expected()
    one, other = (th.Generator().manual_seed(3) for _ in range(2))
    drawn = prior.sample(one) if how == "sample" else prior.mode()
    uniform, probs, codes = th.rand(N, S, generator=other), prior.classes.probs, codebooks()
    for row, latent in itertools.product(range(N), range(S)):
        p = probs[row, latent].detach()
        place = int(p.argmax())
        if how == "sample":
            below = [float(p[: c + 1].sum()) <= float(uniform[row, latent]) for c in range(C - 1)]
            place = sum(below)
        assert th.equal(drawn[row, latent].detach(), codes[latent, place])
    weight = th.randn(N, S, W).double()
    mean = th.stack([probs[:, s] @ codes[s] for s in range(S)], 1)
    results = [
        th.autograd.grad((weight * x).sum(), logits, retain_graph=True)[0] for x in (drawn, mean)
    ]
    assert results[1].any()
    th.testing.assert_close(*results)


def test_codes_are_drawn_as_often_as_they_are_expected() -> None:
    prior, _ = expected()
    probs = prior.classes.probs[0].detach()
    many = ExpectedCodes(Categorical(probs.expand(20_000, S, C)), codebooks())
    mean = th.stack([probs[s] @ codebooks()[s] for s in range(S)])
    drawn = many.sample(th.Generator().manual_seed(4))
    assert ((drawn.mean(0) - mean).abs() < 5 * drawn.std(0) / 20_000**0.5 + 1e-9).all()


def test_detached_beliefs_have_the_same_numbers_without_a_graph() -> None:
    post, (prior, _) = found(random_places(N)), expected()
    for belief in (post, prior):
        cut = belief.detach()
        assert not cut.mode().requires_grad
        assert th.equal(cut.mode(), belief.mode())
    assert th.equal(post.detach().kl(prior), post.kl(prior))
