"""Two-hot coding, mixed categoricals and the bounded normal, against vectors and plain forms."""

import math

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.distributions import (
    BoundedNormalActions,
    CategoricalActions,
    SymexpTwoHot,
    categorical_sample,
    mix_uniform,
    one_hot,
    soft_bernoulli_loss,
    symexp,
    symlog,
)

#: Value, bin below, bin above, weight of the bin above.
TWO_HOT_VECTORS = [
    (0.0, 127, 128, 0.0),
    (0.5, 129, 130, 0.555392),
    (1.0, 131, 132, 0.382671),
    (-1.0, 122, 123, 0.617329),
    (10.0, 142, 143, 0.213037),
    (100.0, 156, 157, 0.289471),
    (1000.0, 170, 171, 0.861551),
    (-3.7, 117, 118, 0.184432),
]


def _dense_targets(twohot: SymexpTwoHot, target: Tensor) -> Tensor:
    """Build the full target distribution in float64, by a loop over the definition."""
    bins = twohot.bins.double().tolist()
    out = th.zeros(len(target), len(bins), dtype=th.float64)
    for row, y in enumerate(target.double().tolist()):
        below = min(max(sum(b <= y for b in bins) - 1, 0), len(bins) - 1)
        above = min(max(len(bins) - sum(b > y for b in bins), 0), len(bins) - 1)
        if below == above:
            out[row, below] = 1.0
            continue
        left, right = abs(bins[below] - y), abs(bins[above] - y)
        out[row, below] = right / (left + right)
        out[row, above] = left / (left + right)
    return out


def test_symexp_inverts_symlog() -> None:
    x = th.tensor([-1e6, -3.0, -1e-3, 0.0, 0.5, 20.0, 1e8], dtype=th.float64)
    th.testing.assert_close(symexp(symlog(x)), x, rtol=1e-9, atol=1e-12)


def test_two_hot_bins_are_the_published_ones() -> None:
    bins = SymexpTwoHot(255).bins
    expected = th.tensor([-0.17055772, 0.0, 0.17055772, 0.37020536, 0.60390446])
    th.testing.assert_close(bins[126:131], expected)
    assert bins[127] == 0.0
    assert bins[254] == -bins[0] == pytest.approx(485165194.41)
    assert th.equal(bins, -bins.flip(0))  # else uniform logits would not read as zero


@pytest.mark.parametrize(("value", "below", "above", "upper"), TWO_HOT_VECTORS)
def test_two_hot_target_vectors(value: float, below: int, above: int, upper: float) -> None:
    """Appendix A1: interpolation in raw space, not in symlog space."""
    low, high, weight = SymexpTwoHot(255).encode(th.tensor([value]))
    assert (int(low), int(high)) == (below, above)
    assert float(weight) == pytest.approx(upper, abs=2e-6)


@pytest.mark.parametrize(("value", "index"), [(1e9, 254), (-1e9, 0), (math.inf, 254)])
def test_two_hot_target_out_of_range_falls_on_the_edge_bin(value: float, index: int) -> None:
    below, above, weight = SymexpTwoHot(255).encode(th.tensor([value]))
    assert int(above if float(weight) == 1.0 else below) == index
    assert float(weight) in (0.0, 1.0)


@pytest.mark.parametrize("bins", [3, 5, 255])
def test_two_hot_target_has_the_value_as_its_expectation(bins: int) -> None:
    twohot = SymexpTwoHot(bins)
    target = th.cat([twohot.bins[1:-1], th.linspace(-30, 30, 41)])
    dense = _dense_targets(twohot, target)
    below, above, weight = twohot.encode(target)
    mine = one_hot(below, bins) * (1 - weight)[:, None] + one_hot(above, bins) * weight[:, None]
    th.testing.assert_close(mine.double(), dense, rtol=0, atol=1e-5)
    th.testing.assert_close(dense @ twohot.bins.double(), target.double(), rtol=1e-6, atol=1e-6)


def test_two_hot_reads_zero_from_uniform_logits() -> None:
    """A plain float32 sum over bins of +-5e8 would be wrong by about one."""
    twohot = SymexpTwoHot(255)
    assert th.equal(twohot.mean(th.zeros(700, 255)), th.zeros(700))
    assert th.equal(twohot.mean(th.full((3, 2, 255), 4.2)), th.zeros(3, 2))
    loss = twohot.loss(th.zeros(4, 255), th.tensor([0.0, 1.0, -7.3, 1e9]))
    th.testing.assert_close(loss, th.full((4,), 5.541264))


def test_two_hot_mean_agrees_with_float64() -> None:
    twohot = SymexpTwoHot(255)
    target = th.tensor([-300.0, -2.0, 0.0, 0.1, 1.0, 5e4])
    logits = _dense_targets(twohot, target).clamp(min=1e-30).log()
    expected = logits.softmax(-1) @ twohot.bins.double()
    th.testing.assert_close(twohot.mean(logits.float()).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", [None, (1.0, 0.25), (0.0, 2.0)])
@pytest.mark.parametrize("bins", [5, 255])
def test_two_hot_loss_and_gradient_equal_the_plain_form(
    bins: int, weights: tuple[float, float] | None
) -> None:
    """The hand-written backward pass, across the 512 rows that it does at a time."""
    generator = th.Generator().manual_seed(0)
    twohot = SymexpTwoHot(bins)
    logits = 3 * th.randn(600, 2, bins, generator=generator)
    targets = [symexp(4 * th.randn(600, 2, generator=generator)) for _ in range(2)]
    outer = th.randn(600, 2, generator=generator)

    mine = logits.clone().requires_grad_()
    loss = twohot.loss(mine, *targets, weights=weights)
    (loss * outer).sum().backward()

    plain = logits.double().requires_grad_()
    log_probs = plain.log_softmax(-1).flatten(0, 1)
    expected = th.zeros(1200, dtype=th.float64)
    for weight, target in zip(weights or (1.0, 1.0), targets, strict=True):
        dense = _dense_targets(twohot, target.flatten())
        expected = expected - weight * (dense * log_probs).sum(-1)
    (expected.view(600, 2) * outer.double()).sum().backward()

    th.testing.assert_close(loss.double().flatten(), expected, rtol=1e-4, atol=1e-4)
    assert mine.grad is not None
    assert plain.grad is not None
    th.testing.assert_close(mine.grad.double(), plain.grad, rtol=1e-4, atol=1e-5)


def test_two_hot_gradient_is_mirror_symmetric_at_the_start() -> None:
    """Pitfall of section 3.1: an asymmetry of 1e-4 in the outer logits shifts the mean by 530."""
    twohot = SymexpTwoHot(255)
    logits = th.zeros(1024, 255, requires_grad=True)
    twohot.loss(logits, th.linspace(0.0, 2.0, 1024)).sum().backward()
    assert logits.grad is not None
    summed = logits.grad.sum(0)
    assert th.equal(summed[:100], summed.flip(0)[:100])


def test_two_hot_targets_receive_no_gradient() -> None:
    target = th.zeros(3, requires_grad=True)
    loss = SymexpTwoHot(5).loss(th.zeros(3, 5, requires_grad=True), target)
    loss.sum().backward()
    assert target.grad is None


@pytest.mark.parametrize("bins", [1, 2, 254])
def test_two_hot_refuses_even_numbers_of_bins(bins: int) -> None:
    with pytest.raises(ValueError, match="must be odd"):
        SymexpTwoHot(bins)


def test_unimix_vector() -> None:
    """Appendix A4."""
    post = mix_uniform(th.tensor([[2.0, 0.0, -1.0, 0.5]]), 0.01)
    expected = th.tensor([[0.705499, 0.097641, 0.037500, 0.159360]])
    th.testing.assert_close(post, expected, atol=1e-6, rtol=0)


def test_unimix_is_over_the_last_axis() -> None:
    logits = th.randn(5, 3, 4, generator=th.Generator().manual_seed(1))
    expected = 0.99 * logits.double().softmax(-1) + 0.01 / 4
    th.testing.assert_close(mix_uniform(logits, 0.01).double(), expected, rtol=1e-6, atol=1e-7)


def test_categorical_sample_frequencies() -> None:
    probs = th.tensor([0.5, 0.01, 0.29, 0.2])
    draws = categorical_sample(probs.expand(40_000, 4), th.Generator().manual_seed(3))
    expected = 40_000 * probs
    chi_square = (draws.bincount(minlength=4) - expected).square() / expected
    assert float(chi_square.sum()) < 16.3  # p = 0.001 at 3 degrees of freedom


def test_categorical_sample_never_takes_an_impossible_class() -> None:
    probs = th.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).expand(20_000, 5)
    draws = categorical_sample(probs, th.Generator().manual_seed(3))
    assert set(draws.tolist()) == {1, 3}
    short = th.tensor([0.3, 0.3, 0.3]).expand(1000, 3)  # a sum that rounded far below one
    assert int(categorical_sample(short, th.Generator().manual_seed(0)).max()) == 2


def test_soft_bernoulli_floor() -> None:
    """Appendix A8: a soft target of gamma costs its own entropy."""
    gamma = 1 - 1 / 333
    assert gamma == pytest.approx(0.996997, abs=1e-6)
    logit = th.tensor([math.log(gamma / (1 - gamma))])
    assert float(soft_bernoulli_loss(logit, th.tensor([gamma]))) == pytest.approx(
        0.020440, abs=1e-5
    )
    hard = soft_bernoulli_loss(th.tensor([2.0]), th.tensor([0.0]))
    assert float(hard) == pytest.approx(-math.log(1 - 1 / (1 + math.exp(-2))), abs=1e-6)


def test_bounded_normal_vector() -> None:
    """Appendix A6."""
    policy = BoundedNormalActions(th.tensor([[0.3]]), th.tensor([[0.5]]))
    assert float(policy.mean) == pytest.approx(0.291313, abs=1e-6)
    assert float(policy.std) == pytest.approx(0.931728, abs=1e-6)
    assert float(policy.log_prob(th.tensor([[0.1]]))) == pytest.approx(-0.869304, abs=1e-5)
    assert float(policy.entropy()) == pytest.approx(1.348224, abs=1e-5)
    start = BoundedNormalActions(th.zeros(1, 1), th.zeros(1, 1))
    assert float(start.std) == pytest.approx(0.892717, abs=1e-6)
    assert float(start.entropy()) == pytest.approx(1.305453, abs=1e-5)


def test_bounded_normal_equals_torch_and_sums_over_dimensions() -> None:
    generator = th.Generator().manual_seed(0)
    raw_mean, raw_std, action = (th.randn(7, 3, generator=generator) for _ in range(3))
    policy = BoundedNormalActions(raw_mean, raw_std)
    plain = th.distributions.Normal(raw_mean.tanh(), 0.9 * th.sigmoid(raw_std + 2) + 0.1)
    th.testing.assert_close(policy.log_prob(action), plain.log_prob(action).sum(-1))
    th.testing.assert_close(policy.entropy(), plain.entropy().sum(-1))
    assert th.equal(policy.mode(), raw_mean.tanh())


def test_bounded_normal_samples_are_not_clipped() -> None:
    policy = BoundedNormalActions(th.full((4000, 1), 5.0), th.full((4000, 1), 9.0))
    draws = policy.sample(th.Generator().manual_seed(0))
    assert float(draws.max()) > 2.0
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(draws.std()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("sizes", [(5,), (2, 3, 4)])
@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_categorical_actions_equal_independent_categoricals(
    sizes: tuple[int, ...], unimix: float
) -> None:
    generator = th.Generator().manual_seed(4)
    logits = 2 * th.randn(6, sum(sizes), generator=generator)
    policy = CategoricalActions(logits, sizes, unimix)
    action = policy.sample(generator)
    assert action.shape == (6, len(sizes))
    log_prob, entropy = th.zeros(6, dtype=th.float64), th.zeros(6, dtype=th.float64)
    modes = []
    for i, part in enumerate(logits.double().split(list(sizes), -1)):
        probs = (1 - unimix) * part.softmax(-1) + unimix / sizes[i]
        plain = th.distributions.Categorical(probs)
        log_prob = log_prob + plain.log_prob(action[:, i])
        entropy = entropy + plain.entropy()
        modes.append(part.argmax(-1))
    th.testing.assert_close(policy.log_prob(action).double(), log_prob, rtol=1e-5, atol=1e-6)
    th.testing.assert_close(policy.entropy().double(), entropy, rtol=1e-5, atol=1e-6)
    assert th.equal(policy.mode(), th.stack(modes, -1))


def test_without_unimix_actions_that_never_happen_have_a_gradient() -> None:
    """The newest code of DreamerV3's authors mixes nothing in; exp(-104) rounds to zero."""
    logits = th.tensor([[104.0, 0.0, 1.0], [90.0, 0.0, 1.0], [0.3, -0.2, 0.1]], requires_grad=True)
    action = th.tensor([[0], [2], [1]])
    log_prob, entropy = CategoricalActions(logits, [3], 0.0).log_prob_and_entropy(action)
    exact = th.distributions.Categorical(logits=logits.detach().double())
    th.testing.assert_close(log_prob, exact.log_prob(action[:, 0]).float())
    th.testing.assert_close(entropy, exact.entropy().float())
    (log_prob + entropy).sum().backward()
    assert logits.grad is not None
    assert th.isfinite(logits.grad).all()
    assert logits.grad[2].abs().min() > 0


def test_actor_unimix_bounds_log_probabilities() -> None:
    """Section 12.4: without it the discrete policy can collapse to minus infinity."""
    policy = CategoricalActions(th.tensor([[100.0, -100.0]]), [2], 0.01)
    assert float(policy.log_prob(th.tensor([[1]]))) == pytest.approx(math.log(0.01 / 2), abs=1e-5)


@pytest.mark.parametrize("sizes", [(5,), (2, 3, 4)])
def test_actions_follow_from_one_uniform_number_for_every_dimension(sizes: tuple[int, ...]) -> None:
    """Pieces of the noise give the pieces of the sample; the last class takes what is left."""
    logits = 2 * th.randn(7, sum(sizes), generator=th.Generator().manual_seed(4))
    policy = CategoricalActions(logits, sizes, 0.01)
    noise = CategoricalActions.draw((7, len(sizes)), th.Generator().manual_seed(1), logits.device)
    action = policy.from_noise(noise)
    assert th.equal(action, policy.sample(th.Generator().manual_seed(1)))
    piece = CategoricalActions(logits[2:5], sizes, 0.01).from_noise(noise[2:5])
    assert th.equal(piece, action[2:5])
    for i, part in enumerate(logits.double().split(list(sizes), -1)):
        reached = (0.99 * part.softmax(-1) + 0.01 / sizes[i]).cumsum(-1)
        for row in range(7):
            below = [c for c in range(sizes[i]) if reached[row, c] <= noise[row, i]]
            assert int(action[row, i]) == len(below)
    assert policy.from_noise(th.ones(7, len(sizes))).tolist() == [[n - 1 for n in sizes]] * 7


def test_bounded_normal_actions_follow_from_unit_normal_numbers() -> None:
    policy = BoundedNormalActions(th.randn(5, 2), th.randn(5, 2))
    noise = BoundedNormalActions.draw((5, 2), th.Generator().manual_seed(1), th.device("cpu"))
    assert th.equal(noise, th.randn(5, 2, generator=th.Generator().manual_seed(1)))
    expected = policy.mean + policy.std * noise
    assert th.equal(policy.from_noise(noise), expected)
    assert th.equal(policy.sample(th.Generator().manual_seed(1)), expected)
