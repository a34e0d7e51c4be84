"""Beliefs about latents: samples, divergences and their gradients, and what acting is spared."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.beliefs import Bernoulli, Categorical, Gaussian, divergences
from dreamzoo.nn.distributions import mix_uniform
from dreamzoo.nn.rssm.block import BlockRSSM
from dreamzoo.nn.rssm.dynamics import Dynamics
from dreamzoo.nn.rssm.gaussian import GaussianRSSM, GaussianSSM
from tests.nn.widths import of_dynamics

KINDS = ["gaussian", "mixed", "logits", "bits"]


def make(kind: str, *shape: int, seed: int = 0) -> tuple[Any, list[Tensor]]:
    """Return a random distribution in float64, and the leaves that its gradient reaches."""
    generator = th.Generator().manual_seed(seed)
    numbers = [th.randn(shape, generator=generator, dtype=th.float64) for _ in range(2)]
    leaves = [x.requires_grad_() for x in numbers]
    if kind == "gaussian":
        return Gaussian(leaves[0], leaves[1].exp()), leaves
    if kind == "mixed":
        return Categorical(mix_uniform(leaves[0], 0.01)), leaves[:1]
    if kind == "bits":
        return Bernoulli(leaves[0]), leaves[:1]
    return Categorical.from_logits(leaves[0]), leaves[:1]


def torchs(belief: Gaussian | Categorical | Bernoulli) -> th.distributions.Distribution:
    if isinstance(belief, Gaussian):
        return th.distributions.Normal(belief.mean, belief.std)
    if isinstance(belief, Bernoulli):
        return th.distributions.Bernoulli(logits=belief.logits)
    return th.distributions.OneHotCategorical(belief.probs)


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_and_entropy_equal_torchs_own(kind: str) -> None:
    (p, of_p), (q, of_q) = make(kind, 5, 3, 4), make(kind, 5, 3, 4, seed=1)
    for ours, theirs in (
        (p.kl(q), th.distributions.kl_divergence(torchs(p), torchs(q)).sum(-1)),
        (p.entropy(), torchs(p).entropy().sum(-1)),
    ):
        assert ours.shape == theirs.shape
        th.testing.assert_close(ours, theirs)
        leaves = [*of_p, *of_q]
        grads = [
            th.autograd.grad(x.sum(), leaves, retain_graph=True, materialize_grads=True)
            for x in (ours, theirs)
        ]
        for one, other in zip(*grads, strict=True):
            th.testing.assert_close(one, other)
    assert p.kl(p).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_distributions_mean(kind: str) -> None:
    belief, _ = make(kind, 3, 4)
    many = type(belief)(*(None if x is None else x.detach().expand(40_000, 3, 4) for x in belief))
    draws = many.sample(th.Generator().manual_seed(3))
    error = (draws.mean(0) - torchs(belief).mean).abs()
    assert (error < 5 * torchs(belief).stddev / 200).all()
    if kind != "gaussian":
        assert set(draws.unique().tolist()) == {0.0, 1.0}
    if kind in ("mixed", "logits"):
        assert (draws.sum(-1) == 1.0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["sample", "mode"])
def test_gradients_pass_samples(kind: str, how: str) -> None:
    """By the noise of normals; straight through to the probabilities of categoricals."""
    belief, leaves = make(kind, 2, 3, 4)
    weight = th.randn(2, 3, 4, dtype=th.float64)

    def take(drawn: Gaussian | Categorical | Bernoulli) -> Tensor:
        return drawn.mode() if how == "mode" else drawn.sample(th.Generator().manual_seed(2))

    drawn = take(belief)
    if isinstance(belief, Gaussian):
        noise = th.randn(2, 3, 4, generator=th.Generator().manual_seed(2)).double()
        value = belief.mean + (belief.std * noise if how == "sample" else 0.0)
        th.testing.assert_close(drawn, value)
    else:
        value = belief.probs
    found, expected = (
        th.autograd.grad((weight * x).sum(), leaves, retain_graph=True, materialize_grads=True)
        for x in (drawn, value)
    )
    assert any(x.any() for x in expected)
    for one, other in zip(found, expected, strict=True):
        th.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_is_the_most_likely_value(kind: str) -> None:
    belief, _ = make(kind, 50, 3, 4)
    mode = belief.mode().detach()
    assert (torchs(belief).log_prob(mode) >= torchs(belief).log_prob(belief.sample())).all()


def test_bits_that_are_no_numbers_are_drawn_and_stop_nothing() -> None:
    """The check for finite numbers finds them; an error of the device would end the process."""
    assert Bernoulli(th.tensor([float("nan"), 99.0])).sample().isnan().tolist() == [True, False]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_log_probabilities_are_torchs_own(kind: str) -> None:
    belief, leaves = make(kind, 5, 3, 4)
    value = belief.sample().detach()
    ours, theirs = belief.log_prob(value), torchs(belief).log_prob(value)
    th.testing.assert_close(ours, theirs)
    grads = [th.autograd.grad(x.sum(), leaves, retain_graph=True)[0] for x in (ours, theirs)]
    th.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", KINDS)
def test_a_detached_belief_has_the_same_numbers_without_a_graph(kind: str) -> None:
    p, q = make(kind, 3, 4)[0], make(kind, 3, 4, seed=1)[0]
    cut = p.detach()
    assert not cut.entropy().requires_grad
    assert not cut.sample().requires_grad
    assert th.equal(cut.kl(q), p.kl(q))


@pytest.mark.parametrize("kind", KINDS)
def test_each_divergence_moves_one_side_alone(kind: str) -> None:
    (post, of_post), (prior, of_prior) = make(kind, 2, 3, 4, 5), make(kind, 2, 3, 4, 5, seed=1)
    found = divergences(post, prior)
    th.testing.assert_close(found.dyn, post.kl(prior))
    th.testing.assert_close(found.rep, post.kl(prior))
    th.testing.assert_close(found.prior_ent, prior.entropy())
    th.testing.assert_close(found.post_ent, post.entropy())

    def moved(term: Tensor) -> tuple[bool, bool]:
        leaves = [of_post[0], of_prior[0]]
        grads = th.autograd.grad(term.sum(), leaves, retain_graph=True, materialize_grads=True)
        return bool(grads[0].any()), bool(grads[1].any())

    assert moved(found.dyn) == (False, True)
    assert moved(found.rep) == (True, False)


def test_unmixed_categoricals_that_round_to_certainty_keep_a_true_gradient() -> None:
    """DreamerV2 mixes nothing in: logarithms of its probabilities would be minus infinity."""
    logits = th.tensor([[300.0, 0.0, 0.0]], requires_grad=True)
    other = th.tensor([[0.0, 300.0, 0.0]], requires_grad=True)
    p, q = Categorical.from_logits(logits), Categorical.from_logits(other)
    assert p.probs.tolist() == [[1.0, 0.0, 0.0]]
    assert p.kl(q).item() == pytest.approx(300.0)
    assert p.entropy().item() == 0.0
    (grad,) = th.autograd.grad(p.kl(q), other)  # q - p
    th.testing.assert_close(grad, th.tensor([[-1.0, 1.0, 0.0]]))


def test_unimix_kl_vector() -> None:
    """Appendix A4."""
    logits = th.tensor([[2.0, 0.0, -1.0, 0.5]]), th.tensor([[0.0, 0.3, 0.1, -0.2]])
    post, prior = (Categorical(mix_uniform(x, 0.01)) for x in logits)
    assert post.kl(prior).item() == pytest.approx(0.561494, abs=1e-5)
    assert post.entropy().item() == pytest.approx(0.889078, abs=1e-5)
    raw_post, raw_prior = (Categorical.from_logits(x) for x in logits)
    assert raw_post.kl(raw_prior).item() == pytest.approx(0.573536, abs=1e-5)


@pytest.mark.parametrize(("classes", "largest"), [(4, 5.92), (16, 7.29), (32, 7.98), (64, 8.67)])
def test_kl_of_mixed_categoricals_is_bounded(classes: int, largest: float) -> None:
    """Pitfall 8: without the mixture on both sides the KL term can reach infinity."""
    certain = th.full((1, classes), -1e6)
    one, other = certain.clone(), certain.clone()
    one[0, 0] = other[0, 1] = 1e6
    kl = Categorical(mix_uniform(one, 0.01)).kl(Categorical(mix_uniform(other, 0.01)))
    assert kl.item() == pytest.approx(largest, abs=0.01)


def test_uniform_entropy_is_summed_over_latents() -> None:
    """Appendix A8: 32 ln 4."""
    entropy = Categorical(th.full((2, 32, 4), 0.25)).entropy()
    th.testing.assert_close(entropy, th.full((2,), 44.361420))


def test_one_random_number_is_drawn_for_a_latent() -> None:
    belief, _ = make("mixed", 7, 3, 4)
    assert isinstance(belief, Categorical)
    one, other = (th.Generator().manual_seed(0) for _ in range(2))
    sample = belief.sample(one)
    assert th.equal(sample, belief.from_noise(th.rand(7, 3, generator=other)))
    assert th.equal(one.get_state(), other.get_state())


MODELS: dict[str, Callable[[], Dynamics]] = {
    "rssm": lambda: GaussianRSSM(5, 2, 7, 3, 6),
    "ssm": lambda: GaussianSSM(5, 2, 3, 6),
    "block": lambda: BlockRSSM(5, 2, **of_dynamics(SIZES["debug"])),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_prior_is_what_one_imagines_from_the_state_before(name: str) -> None:
    model = MODELS[name]()
    actions, tokens, first = th.randn(2, 3, 2), th.randn(2, 3, 5), th.zeros(2, 3, dtype=th.bool)
    states, belief = model.observe(model.initial(2), actions, tokens, first)
    post, prior = belief
    assert post is belief.post
    assert prior is belief.prior  # computed once
    assert type(post) is type(prior)
    before = type(states)(*(part[:, 1] for part in states))
    guess = model.imagine_step(before, actions[:, 2], mode=True).stoch.detach()
    th.testing.assert_close(prior.mode().detach()[:, 2].view_as(guess), guess)


def test_who_asks_for_no_prior_pays_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acting, and finding the states that dreams start in."""
    for model in (MODELS["rssm"](), MODELS["block"]()):
        head = next(m for n, m in model.named_modules() if n.startswith("prior"))
        monkeypatch.setattr(head, "forward", lambda *_: pytest.fail("the prior was computed"))
        args = th.randn(2, 3, 2), th.randn(2, 3, 5), th.zeros(2, 3, dtype=th.bool)
        model.observe(model.initial(2), *args)
