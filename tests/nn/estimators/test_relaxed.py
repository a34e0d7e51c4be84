"""Relaxed samples: their distribution, their temperature and where their noise comes from."""

import pytest
import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli, Categorical
from dreamzoo.nn.estimators import (
    DARN,
    Estimator,
    GumbelSoftmax,
    MuProp,
    Pathwise,
    ScoreFunction,
    SlopeAnnealed,
    StraightThrough,
    draw_hard,
    relax,
)
from tests.nn.estimators.exact import belief_of, estimates, functions, make

EVERY: tuple[Estimator, ...] = (
    ScoreFunction(normalize=True),
    MuProp(normalize=True),
    DARN(),
    StraightThrough(),
    SlopeAnnealed(2.0),
    GumbelSoftmax(0.7),
    GumbelSoftmax(0.7, hard=True),
)


def seeded(seed: int = 0) -> th.Generator:
    return th.Generator().manual_seed(seed)


def chi_squared(counts: Tensor, expected: Tensor) -> float:
    return ((counts - expected).square() / expected).sum().item()


@pytest.mark.parametrize("hard", [False, True])
def test_categorical_samples_are_torchs_for_the_same_noise(hard: bool) -> None:
    logits = th.randn(50, 4, 6, generator=seeded())
    th.manual_seed(5)
    expected = F.gumbel_softmax(logits, tau=0.8, hard=hard)
    th.manual_seed(5)
    got = GumbelSoftmax(0.8, hard=hard).draw(Categorical.from_logits(logits))
    th.testing.assert_close(got, expected)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 5.0])
def test_the_largest_class_of_a_relaxed_sample_has_the_categoricals_frequencies(
    temperature: float,
) -> None:
    logits, n = th.tensor([1.0, -1.0, 0.3, 2.0, 0.0]), 50_000
    soft = relax(Categorical.from_logits(logits.expand(n, 5)), temperature, seeded())
    counts = soft.argmax(-1).bincount(minlength=5)
    assert chi_squared(counts, n * logits.softmax(-1)) < 18.5  # 0.1 % of chi squared, 4 degrees


@pytest.mark.parametrize("temperature", [0.05, 1.0, 5.0])
def test_relaxed_bits_are_a_logistic_variable_through_a_sigmoid(temperature: float) -> None:
    logits, n = th.tensor([1.5, -0.7], dtype=th.float64), 50_000
    soft = relax(Bernoulli(logits.expand(n, 2)), temperature, seeded())
    for bit, logit in zip(soft.unbind(-1), logits, strict=True):
        ones = (bit > 0.5).double().sum()
        counts = th.stack([ones, n - ones])
        expected = n * th.stack([logit.sigmoid(), (-logit).sigmoid()])
        assert chi_squared(counts, expected) < 10.8  # 0.1 %, one degree of freedom
        kept = bit.clamp(1e-300, 1 - 1e-16)
        uniform = (temperature * kept.logit() - logit).sigmoid()
        if temperature >= 1.0:  # at lower ones most numbers round to 0 or 1
            assert chi_squared(uniform.histc(10, 0.0, 1.0), th.full((10,), n / 10)) < 27.9


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_lower_temperatures_are_closer_to_hard_samples(kind: str) -> None:
    belief = belief_of(kind, make(kind).expand(2_000, *make(kind).shape))
    distances = [
        (soft - soft.round()).abs().mean()
        for soft in (relax(belief, t, seeded()) for t in (5.0, 1.0, 0.2, 0.01))
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
@pytest.mark.parametrize("hard", [False, True])
def test_gradients_have_less_variance_at_higher_temperatures(kind: str, hard: bool) -> None:
    function = next(functions(2, 3 if kind == "bernoulli" else 6))
    spreads = [
        estimates(GumbelSoftmax(t, hard=hard), kind, make(kind), function, 20_000).var(0).sum()
        for t in (0.1, 0.25, 0.5, 1.0, 2.0)
    ]
    assert spreads == sorted(spreads, reverse=True)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_hard_relaxed_samples_have_the_gradient_of_the_soft_ones(kind: str) -> None:
    gradients, samples = [], []
    for hard in (False, True):
        logits = make(kind)
        sample = GumbelSoftmax(0.6, hard=hard).draw(belief_of(kind, logits), seeded(3))
        (sample * th.arange(sample.numel()).view_as(sample)).sum().backward()
        samples.append(sample)
        gradients.append(logits.grad)
    th.testing.assert_close(gradients[0], gradients[1])
    assert set(samples[1].unique().tolist()) <= {0.0, 1.0}
    nearest = samples[0].round() if kind == "bernoulli" else F.one_hot(samples[0].argmax(-1), 3)
    assert th.equal(samples[1], nearest.to(th.float64))


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
@pytest.mark.parametrize("estimator", EVERY, ids=lambda x: type(x).__name__)
def test_all_randomness_comes_from_the_generator(estimator: Estimator, kind: str) -> None:
    function = next(functions(2, 3 if kind == "bernoulli" else 6))
    before = th.get_rng_state()
    first, again, other = (
        estimates(estimator.eval(), kind, make(kind), function, 10, seed=seed) for seed in (0, 0, 1)
    )
    assert th.equal(before, th.get_rng_state())
    assert th.equal(first, again)
    assert not th.equal(first, other)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
@pytest.mark.parametrize("estimator", EVERY, ids=lambda x: type(x).__name__)
def test_nothing_waits_for_the_device(estimator: Estimator, kind: str) -> None:
    """Tensors without numbers, as on the device "meta", cannot be copied to the host."""
    logits = make(kind).detach().float().expand(7, *make(kind).shape).to("meta").requires_grad_()
    there = estimator.to("meta").train() if list(estimator.buffers()) else estimator
    belief = belief_of(kind, logits)
    estimate = there(lambda draw: draw(belief).flatten(1).square().sum(-1))
    estimate.surrogate.mean().backward()
    assert logits.grad is not None
    assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("estimator", EVERY, ids=lambda x: type(x).__name__)
def test_samples_that_carry_gradients_can_be_drawn_alone(estimator: Estimator) -> None:
    belief = Categorical.from_logits(th.zeros(5, 4, requires_grad=True))  # one variable a row
    assert isinstance(estimator, Pathwise) == hasattr(estimator, "draw")
    if isinstance(estimator, Pathwise):
        sample = estimator.draw(belief, seeded())
        assert sample.shape == (5, 4)
        assert sample.requires_grad
        th.testing.assert_close(sample.sum(-1), th.ones(5))


def test_hard_draws_have_no_gradient() -> None:
    for belief in (Bernoulli(make("bernoulli")), Categorical.from_logits(make("categorical"))):
        sample = draw_hard(belief, seeded())
        assert not sample.requires_grad
        assert set(sample.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperatures_that_are_not_positive_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        GumbelSoftmax(temperature).draw(Bernoulli(th.zeros(3)))


def test_noise_is_finite_where_an_exponential_variable_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Tensor, "exponential_", lambda self, generator=None: self.zero_())
    assert relax(Categorical.from_logits(th.zeros(2, 3)), 0.5).isfinite().all()


@pytest.mark.parametrize("dtype", [th.float32, th.float64, th.bfloat16])
@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_bits_keep_a_gradient_where_uniform_noise_is_at_an_end(
    uniform: float, dtype: th.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(th, "rand", lambda shape, **_: th.full(shape, uniform, dtype=dtype))
    logits = th.tensor([0.0], dtype=dtype, requires_grad=True)
    relax(Bernoulli(logits), 2.0).sum().backward()
    assert logits.grad is not None
    assert logits.grad > 0
