"""Which estimators are exact for which functions, by enumeration in float64."""

from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli, Categorical
from dreamzoo.nn.estimators import (
    DARN,
    Estimator,
    MuProp,
    ScoreFunction,
    SlopeAnnealed,
    StraightThrough,
)
from tests.nn.estimators.exact import (
    SHAPES,
    belief_of,
    distance,
    estimates,
    expected_gradient,
    force,
    functions,
    make,
    mean_estimate,
    outcomes,
)

KINDS = list(SHAPES)
SIZE = {"bernoulli": 3, "categorical": 6}
UNBIASED: dict[str, Any] = {
    "score": lambda: ScoreFunction(center=False),
    "muprop": lambda: MuProp(center=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("name", UNBIASED)
def test_score_function_and_muprop_are_exact_in_expectation(
    name: str, degree: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = make(kind)
    for function in functions(degree, SIZE[kind]):
        mean = mean_estimate(UNBIASED[name](), kind, logits, function, monkeypatch)
        th.testing.assert_close(mean, expected_gradient(kind, logits, function))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("make_estimator", [ScoreFunction, MuProp])
def test_samples_of_unbiased_estimators_center_on_the_gradient(
    make_estimator: type[Estimator], degree: int, kind: str
) -> None:
    """With a running mean, which a first call has set, on samples that they draw themselves."""
    logits = make(kind)
    for function in functions(degree, SIZE[kind]):
        estimator = make_estimator()
        estimates(estimator, kind, logits, function, 100, seed=1)
        gradients = estimates(estimator, kind, logits, function, 100_000)
        assert distance(gradients, expected_gradient(kind, logits, function)) < 4


@pytest.mark.parametrize("degree", [2, 3])
def test_darn_is_exact_where_a_function_is_quadratic_in_bits(
    degree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = make("bernoulli")
    for function in functions(degree, 3):
        expected = expected_gradient("bernoulli", logits, function)
        mean = mean_estimate(DARN(), "bernoulli", logits, function, monkeypatch)
        if degree == 2:
            th.testing.assert_close(mean, expected)
        else:
            assert (mean - expected).abs().max() > 0.01 * expected.abs().max()


def test_darn_takes_the_product_over_the_classes_of_one_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gradient is [f'(z) . (z - 1/k)] grad log p(z) for each categorical."""
    logits, slopes = make("categorical"), th.arange(6, dtype=th.float64).view(2, 3)
    z = outcomes("categorical")[5]
    force(monkeypatch, z)
    (DARN().draw(Categorical.from_logits(logits)) * slopes).sum().backward()
    signal = (slopes * (z - 1 / 3)).sum(-1, keepdim=True)
    th.testing.assert_close(logits.grad, signal * (z - logits.detach().softmax(-1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_straight_through_is_the_functions_slope_times_that_of_the_probabilities(
    kind: str, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = StraightThrough() if slope == 1.0 else SlopeAnnealed(slope)
    function = next(functions(3, SIZE[kind]))
    for z in outcomes(kind):
        logits = make(kind)
        with monkeypatch.context() as patch:
            force(patch, z)
            sample = estimator.draw(belief_of(kind, logits))
        assert th.equal(sample, z)
        (estimated,) = th.autograd.grad(function(sample.view(1, -1)).sum(), logits)
        leaf = z.clone().requires_grad_()
        (steep,) = th.autograd.grad(function(leaf.view(1, -1)).sum(), leaf)
        probs = belief_of(kind, logits * slope).probs
        (expected,) = th.autograd.grad((probs * steep).sum(), logits)
        th.testing.assert_close(estimated, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_straight_through_is_biased(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, function = make(kind), next(functions(2, SIZE[kind]))
    mean = mean_estimate(StraightThrough(), kind, logits, function, monkeypatch)
    expected = expected_gradient(kind, logits, function)
    assert (mean - expected).abs().max() > 0.01 * expected.abs().max()


def _two_layers(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, ...]:
    """Estimate and compute the gradient of bits above categoricals, for both layers and a head."""
    generator = th.Generator().manual_seed(4)
    first, weights, head = (
        th.randn(shape, generator=generator, dtype=th.float64).requires_grad_()
        for shape in ((3,), (3, 2, 3), (6, 6))
    )
    bits, classes = outcomes("bernoulli"), outcomes("categorical")
    z1 = bits.repeat_interleave(len(classes), dim=0)
    z2 = classes.repeat(len(bits), 1, 1)

    def below(h: Tensor) -> Categorical:
        return Categorical.from_logits(th.einsum("bi,isc->bsc", h, weights))

    def lost(z: Tensor) -> Tensor:
        flat = z.flatten(1)
        return th.einsum("bi,bj,ij->b", flat, flat, head).tanh()

    above = Bernoulli(first.expand(len(z1), 3))
    log_prob = above.log_prob(z1).sum(-1) + below(z1).log_prob(z2).sum(-1)
    weighted = log_prob.exp()
    parameters = [first, weights, head]
    expected = th.autograd.grad((weighted * lost(z2)).sum(), parameters, retain_graph=True)
    with monkeypatch.context() as patch:
        force(patch, z1, z2)
        surrogate = estimator(lambda draw: lost(draw(below(draw(above))))).surrogate
    got = th.autograd.grad((weighted.detach() * surrogate).sum(), parameters)
    return *got, *expected


@pytest.mark.parametrize("name", UNBIASED)
def test_gradients_through_two_layers_are_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = _two_layers(UNBIASED[name](), monkeypatch)
    for got, expected in zip(results[:3], results[3:], strict=True):
        th.testing.assert_close(got, expected)


def test_straight_through_reaches_the_first_of_two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that carry gradients carry them through layers below."""
    for estimator in (StraightThrough(), DARN()):
        results = _two_layers(estimator, monkeypatch)
        assert results[0].abs().min() > 0
        th.testing.assert_close(results[2], results[5])  # the head's gradient is exact


def test_muprop_takes_the_noise_of_slopes_away() -> None:
    logits, curved = make("bernoulli"), next(functions(2, 3))
    spreads = [
        estimates(
            UNBIASED[name](), "bernoulli", logits, lambda z: curved(z) + 20 * z.sum(-1), 2_000
        )
        .var(0)
        .sum()
        for name in ("score", "muprop")
    ]
    assert spreads[1] < 0.01 * spreads[0]
