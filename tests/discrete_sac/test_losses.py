"""The equations, in float64, against sums over all actions and loops over single numbers."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch as th
from torch import Tensor

from dreamzoo.discrete_sac import actor_loss, soft_value, target_entropy
from dreamzoo.discrete_sac.losses import (
    all_actions,
    entropy,
    expectation,
    mean_action,
    one_hot_modes,
    one_hot_samples,
)
from dreamzoo.nn.beliefs import Categorical
from dreamzoo.nn.estimators import Estimator, GumbelSoftmax, ScoreFunction, StraightThrough

SIZES = [[4], [3, 2], [2, 2, 3]]
MANY = 20_000  # samples of one state


def logits_of(sizes: list[int], seed: int = 0) -> Tensor:
    """Logits of one state, (A,), of no policy in particular."""
    generator = th.Generator().manual_seed(seed)
    return th.randn(sum(sizes), generator=generator, dtype=th.float64)


def beliefs_of(logits: Tensor, sizes: list[int]) -> list[Categorical]:
    """Distributions of the parts of an action, from (B, A)."""
    return [Categorical.from_logits(x[:, None]) for x in logits.split(sizes, dim=-1)]


def critic_of(sizes: list[int], hidden: int = 16) -> Callable[[Tensor], Tensor]:
    """A curved function of indicator vectors, (..., A) to (...)."""
    generator = th.Generator().manual_seed(1)
    first = th.randn(sum(sizes), hidden, generator=generator, dtype=th.float64)
    last = th.randn(hidden, generator=generator, dtype=th.float64)
    # Returns are seldom around zero.
    return lambda action: 10.0 + (0.5 * action @ first).tanh() @ last


def exact_gradient(sizes: list[int], logits: Tensor, ent_coef: float) -> Tensor:
    """Gradient of -(E[Q] + alpha H) by a loop over all actions, (A,)."""
    logits, critic = logits.clone().requires_grad_(), critic_of(sizes)
    probs = [part.softmax(-1) for part in logits.split(sizes)]
    total = th.zeros((), dtype=th.float64)
    for choice in itertools.product(*map(range, sizes)):
        p = math.prod((probs[i][c] for i, c in enumerate(choice)), start=th.ones(()).double())
        one_hot = th.cat([th.eye(n).double()[c] for n, c in zip(sizes, choice, strict=True)])
        total = total - p * (critic(one_hot) - ent_coef * p.log())
    return th.autograd.grad(total, logits)[0]


def gradients(
    sizes: list[int], estimator: Estimator, ent_coef: float, baseline: bool = False
) -> Tensor:
    """Estimates of that gradient, from one draw each, (MANY, A)."""
    logits = logits_of(sizes).expand(MANY, -1).clone().requires_grad_()
    beliefs, critic = beliefs_of(logits, sizes), critic_of(sizes)
    known = critic(mean_action(beliefs)) if baseline else None
    generator = th.Generator().manual_seed(3)
    loss = actor_loss(critic, beliefs, estimator, ent_coef, generator, known)
    return th.autograd.grad(loss.surrogate.sum(), logits)[0]


@pytest.mark.parametrize("sizes", SIZES)
def test_sums_run_over_all_actions(sizes: list[int]) -> None:
    logits, critic = th.stack([logits_of(sizes), -logits_of(sizes)]), critic_of(sizes)
    beliefs, actions = beliefs_of(logits, sizes), all_actions(sizes)
    assert actions.shape == (math.prod(sizes), sum(sizes))
    assert len(actions.unique(dim=0)) == len(actions)
    value, entropies = expectation(critic, beliefs, actions), entropy(beliefs)
    for row, each in enumerate(logits):
        mean = uncertainty = 0.0
        for choice in itertools.product(*map(range, sizes)):
            parts = zip(each.split(sizes), choice, strict=True)
            p = math.prod(float(part.softmax(-1)[c]) for part, c in parts)
            one_hot = [th.eye(n).double()[c] for n, c in zip(sizes, choice, strict=True)]
            mean += p * float(critic(th.cat(one_hot)))
            uncertainty -= p * math.log(p)
        assert math.isclose(value[row], mean, rel_tol=1e-12)
        assert math.isclose(entropies[row], uncertainty, rel_tol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_sum_over_all_actions_has_the_exact_gradient(sizes: list[int]) -> None:
    logits = logits_of(sizes)[None].requires_grad_()
    beliefs = beliefs_of(logits, sizes)
    value = expectation(critic_of(sizes), beliefs, all_actions(sizes))
    loss = -soft_value(value, entropy(beliefs), 0.3)
    th.testing.assert_close(
        th.autograd.grad(loss.sum(), logits)[0][0], exact_gradient(sizes, logits[0].detach(), 0.3)
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_drawn_actions_have_their_frequencies_and_no_gradient(sizes: list[int]) -> None:
    logits = logits_of(sizes).expand(MANY, -1).clone().requires_grad_()
    beliefs = beliefs_of(logits, sizes)
    drawn = one_hot_samples(beliefs, th.Generator().manual_seed(0))
    assert not drawn.requires_grad
    assert (drawn.sum(-1) == len(sizes)).all()
    expected = th.cat([part.softmax(-1) for part in logits_of(sizes).split(sizes)])
    error = (expected * (1.0 - expected) / MANY).sqrt()
    assert ((drawn.double().mean(0) - expected).abs() < 4.0 * error).all()
    likely = th.cat([part.argmax()[None] for part in logits_of(sizes).split(sizes)])
    parts = one_hot_modes(beliefs)[0].split(sizes)
    assert [int(part.argmax()) for part in parts] == likely.tolist()


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_score_function_is_unbiased(sizes: list[int], baseline: bool) -> None:
    found = gradients(sizes, ScoreFunction(center=False), 0.3, baseline)
    error = found.std(0) / math.sqrt(MANY)
    exact = exact_gradient(sizes, logits_of(sizes), 0.3)
    assert ((found.mean(0) - exact).abs() < 4.0 * error).all()


@pytest.mark.parametrize("sizes", SIZES)
def test_the_critics_word_on_the_mean_action_makes_the_score_function_less_noisy(
    sizes: list[int],
) -> None:
    plain, helped = (
        gradients(sizes, ScoreFunction(center=False), 0.0, baseline).var(0).sum()
        for baseline in (False, True)
    )
    assert helped < 0.8 * plain


@pytest.mark.parametrize("estimator", [GumbelSoftmax(0.1), GumbelSoftmax(0.1, hard=True)])
@pytest.mark.parametrize("sizes", SIZES)
def test_cold_gumbel_softmax_points_where_the_exact_gradient_points(
    sizes: list[int], estimator: Estimator
) -> None:
    for ent_coef in (0.0, 0.3):
        found = gradients(sizes, estimator, ent_coef).mean(0)
        exact = exact_gradient(sizes, logits_of(sizes), ent_coef)
        assert th.cosine_similarity(found, exact, dim=0) > 0.9


@pytest.mark.parametrize("sizes", SIZES)
def test_straight_through_is_the_slope_at_the_drawn_action(sizes: list[int]) -> None:
    critic, one = critic_of(sizes), logits_of(sizes)[None]
    logits = one.clone().requires_grad_()
    beliefs = beliefs_of(logits, sizes)
    drawn = one_hot_samples(beliefs, th.Generator().manual_seed(7)).double().requires_grad_()
    (slope,) = th.autograd.grad(-critic(drawn).sum(), drawn)
    probs = th.cat([belief.probs.flatten() for belief in beliefs])
    (expected,) = th.autograd.grad(probs, logits, slope[0])
    loss = actor_loss(
        critic, beliefs_of(logits, sizes), StraightThrough(), 0.0, th.Generator().manual_seed(7)
    )
    th.testing.assert_close(th.autograd.grad(loss.surrogate.sum(), logits)[0], expected)


@pytest.mark.parametrize("baseline", [None, 5.0])
def test_the_loss_that_is_told_is_that_of_the_drawn_action(baseline: float | None) -> None:
    sizes = [3, 2]
    beliefs, critic = beliefs_of(logits_of(sizes)[None], sizes), critic_of(sizes)
    drawn = one_hot_samples(beliefs, th.Generator().manual_seed(2)).double()
    known = None if baseline is None else th.full((1,), baseline, dtype=th.float64)
    found = actor_loss(
        critic, beliefs, ScoreFunction(center=False), 0.3, th.Generator().manual_seed(2), known
    )
    th.testing.assert_close(found.loss, -(critic(drawn) + 0.3 * entropy(beliefs)))


@pytest.mark.parametrize("scale", [0.0, 0.5, 0.98])
def test_the_entropy_aimed_at_is_a_share_of_that_of_uniform_actions(scale: float) -> None:
    for sizes in SIZES:
        uniform = entropy(beliefs_of(th.zeros(1, sum(sizes)).double(), sizes))
        assert math.isclose(target_entropy(sizes, scale), scale * float(uniform), rel_tol=1e-12)
        assert 0.0 <= target_entropy(sizes, scale) < float(uniform)  # can be met
