"""Small discrete models, whose gradients are known by enumeration."""

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Bernoulli, Categorical
from dreamzoo.nn.estimators import Discrete, Estimator

#: A loss of flattened samples, (B, n) to (B,).
Function = Callable[[Tensor], Tensor]
SHAPES = {"bernoulli": (3,), "categorical": (2, 3)}


def make(kind: str, seed: int = 0) -> Tensor:
    """Random logits of three bits, or of two variables with three classes."""
    generator = th.Generator().manual_seed(seed)
    return th.randn(SHAPES[kind], generator=generator, dtype=th.float64).requires_grad_()


def belief_of(kind: str, logits: Tensor) -> Discrete:
    return Bernoulli(logits) if kind == "bernoulli" else Categorical.from_logits(logits)


def outcomes(kind: str) -> Tensor:
    """List all samples, (8, 3) or (9, 2, 3)."""
    if kind == "bernoulli":
        return th.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=th.float64)
    rows = th.eye(3, dtype=th.float64)
    return th.stack([th.stack(pair) for pair in itertools.product(rows, repeat=2)])


def polynomial(degree: int, n: int, seed: int) -> Function:
    """Draw a random polynomial of n variables; cubic ones have all products of two and three."""
    generator = th.Generator().manual_seed(seed)
    tensors = [
        th.randn([n] * order, generator=generator, dtype=th.float64)
        for order in range(1, degree + 1)
    ]
    letters = ("bi,i->b", "bi,bj,ij->b", "bi,bj,bk,ijk->b")

    def function(z: Tensor) -> Tensor:
        terms = zip(letters, tensors, strict=False)
        return th.stack([th.einsum(s, *[z] * t.dim(), t) for s, t in terms]).sum(0)

    return function


def expected_gradient(kind: str, logits: Tensor, function: Function) -> Tensor:
    """Differentiate the sum over all outcomes."""
    z = outcomes(kind)
    weights = belief_of(kind, logits.expand_as(z)).log_prob(z).sum(-1).exp()
    (gradient,) = th.autograd.grad((weights * function(z.flatten(1))).sum(), logits)
    return gradient


def force(monkeypatch: pytest.MonkeyPatch, *layers: Tensor) -> None:
    """Let layers draw what is given, one after the other."""
    given = iter(layers)

    def sample(self: Discrete, generator: th.Generator | None = None) -> Tensor:
        return next(given) + (self.probs - self.probs.detach())

    for kind in (Bernoulli, Categorical):
        monkeypatch.setattr(kind, "sample", sample)


def mean_estimate(
    estimator: Estimator,
    kind: str,
    logits: Tensor,
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> Tensor:
    """Take the expectation of an estimate over all outcomes."""
    z = outcomes(kind)
    rows = logits.detach().expand_as(z).clone().requires_grad_()
    belief = belief_of(kind, rows)
    weights = belief.log_prob(z).sum(-1).exp().detach()
    with monkeypatch.context() as patch:
        force(patch, z)
        surrogate = estimator(lambda draw: function(draw(belief).flatten(1))).surrogate
    (gradients,) = th.autograd.grad(surrogate.sum(), rows)
    return th.einsum("b,b...->...", weights, gradients)


def estimates(
    estimator: Estimator, kind: str, logits: Tensor, function: Function, n: int, seed: int = 0
) -> Tensor:
    """Estimate the gradient n times, (n, ...) as the logits."""
    rows = logits.detach().expand(n, *logits.shape).clone().requires_grad_()
    belief = belief_of(kind, rows)
    generator = th.Generator().manual_seed(seed)
    estimate = estimator(lambda draw: function(draw(belief).flatten(1)), generator)
    (gradients,) = th.autograd.grad(estimate.surrogate.sum(), rows)
    return gradients


def distance(gradients: Tensor, expected: Tensor) -> float:
    """Largest distance of a mean from what is expected, in standard errors."""
    error = gradients.std(0) / len(gradients) ** 0.5
    return ((gradients.mean(0) - expected).abs() / error.clamp(min=1e-12)).max().item()


def functions(degree: int, n: int, count: int = 3) -> Iterator[Function]:
    yield from (polynomial(degree, n, seed) for seed in range(count))
