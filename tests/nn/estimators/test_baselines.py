"""Learning signals: their mean, their scale, baselines that see the input; schedules."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli
from dreamzoo.nn.estimators import (
    Centering,
    Cosine,
    Draw,
    Estimator,
    ExponentialSteps,
    GrowingSlope,
    InputBaseline,
    MuProp,
    ScoreFunction,
    SlopeAnnealed,
    StraightThrough,
)
from tests.nn.estimators.exact import estimates, functions, make


def test_running_statistics_follow_the_batches() -> None:
    centering = Centering(decay=0.75, normalize=True)
    batches = [th.tensor([10.0, 14.0]), th.tensor([20.0, 30.0]), th.tensor([0.0, 2.0])]
    mean, var = 12.0, 4.0
    for batch in batches:
        got, scale = centering(batch)
        th.testing.assert_close(got, batch - mean)
        assert scale.item() == pytest.approx(math.sqrt(var))
        var = 0.75 * var + 0.25 * (batch - mean).square().mean().item()
        mean = 0.75 * mean + 0.25 * batch.mean().item()
        assert centering.mean.item() == pytest.approx(mean)
        assert centering.var.item() == pytest.approx(var)


def test_small_signals_are_not_blown_up() -> None:
    _, scale = Centering(normalize=True)(th.tensor([-0.01, 0.01]))
    assert scale == 1.0
    _, scale = Centering()(th.tensor([-99.0, 99.0]))  # not to normalize
    assert scale == 1.0


def test_signals_are_centered_by_what_came_before() -> None:
    """A mean that has seen the sample makes the estimate biased."""
    centering = Centering()
    centering(th.tensor([1.0, 3.0]))
    th.testing.assert_close(centering(th.tensor([7.0, 7.0]))[0], th.tensor([5.0, 5.0]))


def test_statistics_stand_still_in_evaluation_and_are_saved() -> None:
    trained = ScoreFunction()
    trained(lambda draw: draw(Bernoulli(th.zeros(4, 2))).sum(-1) + 3.0)
    state = copy.deepcopy(trained.state_dict())
    trained.eval()(lambda draw: draw(Bernoulli(th.zeros(4, 2))).sum(-1) + 99.0)
    assert all(th.equal(x, state[name]) for name, x in trained.state_dict().items())
    restored = ScoreFunction()
    restored.load_state_dict(state)
    assert restored.centering is not None
    assert 3.0 <= restored.centering.mean <= 5.0


def test_centering_takes_the_noise_of_a_constant_away() -> None:
    logits, function = make("bernoulli"), next(functions(2, 3))

    def far(z: Tensor) -> Tensor:
        return function(z) + 1_000.0

    spreads = []
    for center in (False, True):
        estimator = ScoreFunction(center=center)
        estimates(estimator, "bernoulli", logits, far, 100, seed=1)
        spreads.append(estimates(estimator, "bernoulli", logits, far, 5_000).var(0).sum())
    assert spreads[1] < 1e-3 * spreads[0]


@pytest.mark.parametrize("make_estimator", [ScoreFunction, MuProp])
def test_normalizing_scales_the_whole_gradient_of_what_is_drawn_from(
    make_estimator: type[ScoreFunction],
) -> None:
    """Also what is known in closed form; what reads the samples keeps its own gradient."""
    logits = make("bernoulli").detach().expand(64, 3).clone().requires_grad_()
    head = th.tensor(50.0, dtype=th.float64, requires_grad=True)

    def lost(draw: Draw) -> Tensor:
        return head * draw(Bernoulli(logits)).prod(-1)

    gradients, of_head, scale = [], [], 1.0
    for normalize in (False, True):
        estimator = make_estimator(normalize=normalize)
        estimator(lost, th.Generator().manual_seed(1))
        assert estimator.centering is not None
        scale = estimator.centering.var.sqrt().item()
        estimate = estimator(
            lost, th.Generator().manual_seed(2), closed_form=Bernoulli(logits).entropy()
        )
        one, other = th.autograd.grad(estimate.surrogate.sum(), [logits, head])
        gradients.append(one)
        of_head.append(other)
    assert scale > 2.0
    th.testing.assert_close(gradients[1] * scale, gradients[0])
    th.testing.assert_close(of_head[0], of_head[1])


@pytest.mark.parametrize("estimator", [ScoreFunction(), MuProp(), StraightThrough()])
def test_what_is_known_in_closed_form_is_part_of_loss_and_gradient(estimator: Estimator) -> None:
    logits = make("bernoulli").detach().expand(5, 3).clone().requires_grad_()
    known = Bernoulli(logits).entropy()
    results = []
    for closed_form in (None, known):
        generator = th.Generator().manual_seed(0)
        estimate = estimator.eval()(
            lambda draw: draw(Bernoulli(logits)).sum(-1), generator, closed_form=closed_form
        )
        (gradient,) = th.autograd.grad(estimate.surrogate.sum(), logits, retain_graph=True)
        results.append((estimate.loss, gradient))
    (loss, gradient), (more_loss, more) = results
    th.testing.assert_close(more_loss, loss + known.detach())
    th.testing.assert_close(more - gradient, th.autograd.grad(known.sum(), logits)[0])


@pytest.mark.parametrize("make_estimator", [ScoreFunction, MuProp])
def test_a_baseline_learns_from_its_own_error_alone(make_estimator: type[ScoreFunction]) -> None:
    context = th.randn(6, 4, generator=th.Generator().manual_seed(0))
    logits = th.zeros(6, 3, requires_grad=True)
    baseline = InputBaseline(4, hidden=5)
    estimator = make_estimator(center=False, baseline=baseline)

    def lost(draw: Draw) -> Tensor:
        return draw(Bernoulli(logits)).prod(-1) + context[:, 0]

    estimate = estimator(lost, th.Generator().manual_seed(1), context)
    parameters = list(baseline.parameters())
    got = th.autograd.grad(estimate.surrogate.sum(), parameters, retain_graph=True)
    target = estimate.loss
    if make_estimator is MuProp:  # its bracket: f(z) - f(p) - f'(p) (z - p)
        z = (th.rand(6, 3, generator=th.Generator().manual_seed(1)) < 0.5).float()
        target = z.prod(-1) - 0.125 - 0.25 * (z - 0.5).sum(-1)
    error = (target - baseline(context)).square().sum()
    for one, other in zip(got, th.autograd.grad(error, parameters), strict=True):
        th.testing.assert_close(one, other)
    assert th.autograd.grad(estimate.surrogate.sum(), logits)[0].isfinite().all()


def test_a_baseline_takes_away_what_the_input_tells() -> None:
    context = th.randn(500, 2, generator=th.Generator().manual_seed(0))
    logits = th.zeros(500, 3, requires_grad=True)
    th.manual_seed(0)
    estimator = ScoreFunction(baseline=InputBaseline(2))
    optimizer = th.optim.Adam(estimator.parameters(), lr=0.01)
    generator, spreads = th.Generator().manual_seed(1), list[float]()
    for _ in range(300):
        estimate = estimator(
            lambda draw: 5 * context[:, 0] + draw(Bernoulli(logits)).sum(-1), generator, context
        )
        optimizer.zero_grad()
        logits.grad = None
        estimate.surrogate.mean().backward()
        optimizer.step()
        assert logits.grad is not None
        spreads.append(logits.grad.var().item())
    assert sum(spreads[-20:]) < 0.2 * sum(spreads[:20])


def test_what_cannot_be_estimated_is_refused() -> None:
    belief = Bernoulli(th.zeros(4, 3, requires_grad=True))
    with pytest.raises(ValueError, match="one loss for each example"):
        ScoreFunction()(lambda draw: draw(belief).mean(0))
    with pytest.raises(ValueError, match="context"):
        ScoreFunction(baseline=InputBaseline(2))(lambda draw: draw(belief).sum(-1))
    with pytest.raises(ValueError, match="center=True"):
        ScoreFunction(center=False, normalize=True)
    with pytest.raises(ValueError, match="decay=1"):
        Centering(decay=1.0)


def test_losses_with_more_axes_are_estimated_as_if_they_were_flat() -> None:
    gradients = []
    for shape in ((6,), (2, 3)):
        logits = make("bernoulli").detach().expand(*shape, 3).clone().requires_grad_()
        estimators: tuple[Estimator, ...] = (ScoreFunction(), MuProp())
        for estimator in estimators:
            estimate = estimator(
                lambda draw, logits=logits: draw(Bernoulli(logits)).prod(-1),
                th.Generator().manual_seed(0),
            )
            assert estimate.surrogate.shape == shape
            gradients.append(th.autograd.grad(estimate.surrogate.sum(), logits)[0].view(6, 3))
    th.testing.assert_close(gradients[0], gradients[2])
    th.testing.assert_close(gradients[1], gradients[3])


def test_temperatures_fall_in_steps_to_the_floor() -> None:
    schedule = ExponentialSteps(rate=1e-3, every=100, start=2.0, floor=0.5)
    assert schedule(0) == schedule(99) == 2.0
    assert schedule(100) == schedule(199) == pytest.approx(2.0 * math.exp(-0.1))
    assert schedule(1_300) == pytest.approx(2.0 * math.exp(-1.3))
    assert schedule(1_400) == 0.5


def test_dalles_temperature_falls_along_half_a_cosine() -> None:
    schedule = Cosine()
    assert schedule(0) == 1.0
    assert schedule(37_500) == pytest.approx(1 / 16 + 15 / 16 * (1 + math.sqrt(0.5)) / 2)
    assert schedule(75_000) == pytest.approx((1 + 1 / 16) / 2)
    assert schedule(150_000) == schedule(999_999) == 1 / 16


def test_slopes_grow_once_an_epoch_to_the_ceiling() -> None:
    schedule = GrowingSlope(every=40)
    assert schedule(0) == schedule(39) == 1.0
    assert schedule(40) == pytest.approx(1.04)
    assert schedule(40 * 99) == pytest.approx(4.96)
    assert schedule(40 * 500) == 5.0


@pytest.mark.parametrize("make_estimator", [ScoreFunction, MuProp])
def test_what_makes_the_context_is_not_moved_by_the_baselines_error(
    make_estimator: type[ScoreFunction],
) -> None:
    """An encoder whose features are both the context and where the logits come from."""
    th.manual_seed(0)
    features = th.randn(6, 4, requires_grad=True)
    weight, baseline = th.randn(4, 3), InputBaseline(4, 5)

    def gradient(context: th.Tensor) -> th.Tensor:
        estimator = make_estimator(center=False, baseline=baseline)
        belief = Bernoulli(features @ weight)
        estimate = estimator(
            lambda draw: (draw(belief) - 0.3).square().sum(-1),
            th.Generator().manual_seed(0),
            context,
        )
        return th.autograd.grad(estimate.surrogate.sum(), features)[0]

    th.testing.assert_close(gradient(features), gradient(features.detach()))


def test_a_mean_over_examples_is_refused() -> None:
    belief = Bernoulli(th.zeros(8, 5, requires_grad=True))
    with pytest.raises(ValueError, match=r"shape \(\), .* do not average over them"):
        ScoreFunction()(lambda draw: draw(belief).sum(-1).mean())


def test_muprop_says_that_it_needs_a_slope() -> None:
    belief = Bernoulli(th.zeros(8, 5, requires_grad=True))
    for objective in (lambda draw: (draw(belief) > 0.5).sum(-1).float(), lambda _: th.zeros(8)):
        with pytest.raises(ValueError, match="MuProp needs the slope"):
            MuProp()(objective)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialSteps(every=0),
        lambda: ExponentialSteps(floor=0.0),
        lambda: Cosine(updates=0),
        lambda: GrowingSlope(every=-5),
        lambda: SlopeAnnealed(slope=0.0),
        lambda: InputBaseline(0),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"=(0|-5|0\.0)\b"):
        make()
