"""Action distributions of Dreamer V1 and V2 against scipy, sampling and closed forms."""

import math

import pytest
import torch as th
from gymnasium import spaces
from scipy import stats
from torch import Tensor

from dreamzoo.nn.action_distributions import (
    OneHotActions,
    TanhNormalActions,
    TruncatedNormalActions,
)
from dreamzoo.nn.actions import ActionCodec

#: Raw means and deviations: in the middle, at a bound, narrow, wide.
RAWS = [(0.3, -0.8), (2.5, -6.0), (-4.0, 3.0), (0.0, 9.0)]


def _raws(dtype: th.dtype = th.float64) -> tuple[Tensor, Tensor]:
    means, stds = zip(*RAWS, strict=True)
    return th.tensor(means, dtype=dtype)[:, None], th.tensor(stds, dtype=dtype)[:, None]


def _peer(mean: float, std: float) -> stats.rv_continuous:
    loc, scale = math.tanh(mean), 2 / (1 + math.exp(-std / 2)) + 0.1
    return stats.truncnorm((-1 - loc) / scale, (1 - loc) / scale, loc, scale)


# ---------------------------------------------------------------------- truncated normal


@pytest.mark.parametrize("row", range(len(RAWS)))
def test_truncated_normal_equals_scipys(row: int) -> None:
    ours, peer = TruncatedNormalActions(*(x[row] for x in _raws())), _peer(*RAWS[row])
    for action in (-0.99, -0.2, 0.0, 0.7, 0.999):
        found = float(ours.log_prob(th.tensor([action], dtype=th.float64)))
        assert found == pytest.approx(peer.logpdf(action), rel=1e-9)
    assert float(ours.entropy()) == pytest.approx(peer.entropy(), rel=1e-9)
    for uniform in (0.001, 0.3, 0.5, 0.98):
        found = float(ours.from_noise(th.tensor([uniform], dtype=th.float64)))
        expected = max(-1 + 1e-6, min(1 - 1e-6, peer.ppf(uniform)))
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("uniform", [0.05, 0.5, 0.93])
def test_truncated_normal_draws_have_the_gradient_of_the_inverse(uniform: float) -> None:
    """By finite differences of scipy's inverse cumulative distribution."""
    for mean, std in [(0.3, -0.8), (1.2, 1.5)]:
        raw = th.tensor([mean, std], dtype=th.float64, requires_grad=True)
        action = TruncatedNormalActions(raw[:1], raw[1:]).from_noise(th.tensor([uniform]).double())
        (gradient,) = th.autograd.grad(action.sum(), raw)
        h = 1e-5
        by_mean = _peer(mean + h, std).ppf(uniform) - _peer(mean - h, std).ppf(uniform)
        by_std = _peer(mean, std + h).ppf(uniform) - _peer(mean, std - h).ppf(uniform)
        expected = th.tensor([by_mean, by_std]).double() / (2 * h)
        th.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


def test_truncated_normal_clips_without_losing_the_gradient() -> None:
    """Clipped by straight-through: outside of the margin the gradient is what it was."""
    raw_std = th.tensor([0.7], dtype=th.float64, requires_grad=True)
    policy, uniform = TruncatedNormalActions(th.zeros(1).double(), raw_std), 1.0 - 1e-8
    action = policy.from_noise(th.tensor([uniform], dtype=th.float64))
    assert action.item() == 1 - 1e-6
    std = 2 * th.sigmoid(raw_std / 2) + 0.1
    below = th.special.ndtr(-1 / std)
    whole = std * th.special.ndtri(below + uniform * (1 - 2 * below))
    (expected,) = th.autograd.grad(whole, raw_std)
    (found,) = th.autograd.grad(action, raw_std)
    assert found.any()
    th.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("uniform", [0.0, 1e-7, 0.5, 1 - 6e-8])
@pytest.mark.parametrize("mean", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("std", [-60.0, 0.0, 60.0])
def test_truncated_normal_is_finite_at_its_extremes(
    mean: float, std: float, uniform: float
) -> None:
    raw = th.tensor([mean, std], requires_grad=True)
    policy = TruncatedNormalActions(raw[:1], raw[1:])
    action = policy.from_noise(th.tensor([uniform]))
    assert abs(action.item()) <= 1 - 1e-6 + 1e-7
    for value in (action, policy.log_prob(action.detach()), policy.entropy()):
        (gradient,) = th.autograd.grad(value.sum(), raw, retain_graph=True)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def test_truncated_normal_bounds_of_mean_and_std() -> None:
    raw = th.tensor([-100.0, 0.0, 100.0])
    policy = TruncatedNormalActions(raw, raw)
    th.testing.assert_close(policy.mean, th.tensor([-1.0, 0.0, 1.0]))
    th.testing.assert_close(policy.std, th.tensor([0.1, 1.1, 2.1]))
    assert th.equal(policy.mode(), policy.mean)


def test_truncated_normal_draws_follow_the_distribution() -> None:
    policy = TruncatedNormalActions(*(x.expand(-1, 4000).float() for x in _raws()))
    drawn = policy.sample(th.Generator().manual_seed(0))
    for row, raw in enumerate(RAWS):
        assert stats.kstest(drawn[row].numpy(), _peer(*raw).cdf).pvalue > 1e-3


# ---------------------------------------------------------------------- tanh-normal


def _tanh_normal(raw_mean: float, raw_std: float) -> th.distributions.Distribution:
    mean = 5 * math.tanh(raw_mean / 5)
    std = math.log(1 + math.exp(raw_std + math.log(math.exp(5) - 1))) + 1e-4
    normal = th.distributions.Normal(
        th.tensor(mean, dtype=th.float64), th.tensor(std, dtype=th.float64)
    )
    return th.distributions.TransformedDistribution(normal, th.distributions.TanhTransform())


def test_tanh_normal_begins_with_a_deviation_of_five() -> None:
    policy = TanhNormalActions(th.zeros(1), th.zeros(1))
    th.testing.assert_close(policy.std, th.tensor([5.0001]))
    assert th.equal(policy.mean, th.zeros(1))
    policy = TanhNormalActions(th.tensor([-1e3, 1e3]), th.tensor([-1e3, -1e3]))
    th.testing.assert_close(policy.mean, th.tensor([-5.0, 5.0]))
    th.testing.assert_close(policy.std, th.tensor([1e-4, 1e-4]))


@pytest.mark.parametrize(("mean", "std"), [(0.3, -4.0), (2.5, -7.0), (-1.0, 0.5)])
def test_tanh_normal_density_equals_torchs(mean: float, std: float) -> None:
    raw = th.tensor([mean], dtype=th.float64), th.tensor([std], dtype=th.float64)
    ours, peer = TanhNormalActions(*raw), _tanh_normal(mean, std)
    for action in (-0.9999, -0.3, 0.0, 0.62, 0.99):
        x = th.tensor([action], dtype=th.float64)
        th.testing.assert_close(ours.log_prob(x), peer.log_prob(x).sum()[None].squeeze(0))


def test_tanh_normal_sums_over_dimensions_and_draws_with_a_gradient() -> None:
    raw_mean = th.tensor([0.4, -1.0], dtype=th.float64, requires_grad=True)
    raw_std = th.tensor([-4.0, -2.0], dtype=th.float64, requires_grad=True)
    policy = TanhNormalActions(raw_mean, raw_std)
    noise = th.tensor([0.3, -1.1], dtype=th.float64)
    action = policy.from_noise(noise)
    parts = [_tanh_normal(m, s) for m, s in zip(raw_mean.tolist(), raw_std.tolist(), strict=True)]
    expected = [p.log_prob(x) for p, x in zip(parts, action, strict=True)]
    th.testing.assert_close(policy.log_prob(action), th.stack(expected).sum().detach())
    slope = 1 - action.detach() ** 2
    to_mean, to_std = th.autograd.grad(action.sum(), [raw_mean, raw_std])
    th.testing.assert_close(to_mean, slope * (1 - th.tanh(raw_mean / 5) ** 2))
    shift = math.log(math.exp(5) - 1)
    th.testing.assert_close(to_std, slope * noise * th.sigmoid(raw_std + shift))


def test_tanh_normal_is_finite_at_the_bounds() -> None:
    """Actions of exactly 1 happen: tanh rounds in float32."""
    policy = TanhNormalActions(th.zeros(1), th.zeros(1))
    assert policy.log_prob(th.ones(1)).isfinite()
    assert policy.log_prob(-th.ones(1)).isfinite()
    assert TanhNormalActions(th.tensor([9e9]), th.tensor([9.0])).entropy().isfinite()


def test_tanh_normal_mode_is_the_likeliest_of_its_draws() -> None:
    """A slow search over the same draws; densities near the bounds are infinite for wide ones."""
    raw_mean, raw_std = th.randn(5, 2), th.randn(5, 2) - 4
    policy = TanhNormalActions(raw_mean, raw_std)
    mode = policy.mode()
    raw, _ = policy._candidates()
    assert raw.shape == (100, 5, 2)
    for row in range(5):
        one = TanhNormalActions(raw_mean[row], raw_std[row])
        best = max((th.tanh(x[row]) for x in raw), key=lambda a: float(one.log_prob(a)))
        th.testing.assert_close(mode[row], best)
    narrow = TanhNormalActions(th.full((1, 1), 0.7), th.full((1, 1), -9.0))
    expected = math.tanh(5 * math.tanh(0.14))  # nearly no noise: the mean
    assert float(narrow.mode()) == pytest.approx(expected, abs=0.05)


def test_modes_are_the_same_in_every_process() -> None:
    """The noise is fixed: ``predict(deterministic=True)`` depends on its arguments alone."""
    raw, _ = TanhNormalActions(th.zeros(2, 2), th.zeros(2, 2))._candidates()
    first = 5.0001 * th.tensor([0.12573022, -0.13210486])
    th.testing.assert_close(raw[0], first.expand(2, -1))


def test_equal_states_have_equal_modes_whatever_is_beside_them() -> None:
    raw = th.randn(4, 3)
    many = TanhNormalActions(raw, raw).mode()
    assert th.equal(many, TanhNormalActions(raw, raw).mode())
    th.testing.assert_close(TanhNormalActions(raw[2:3], raw[2:3]).mode(), many[2:3])


def test_tanh_normal_entropy_estimates_minus_the_log_density() -> None:
    raw = th.tensor([0.3]), th.tensor([-4.5])
    peer = _tanh_normal(0.3, -4.5)
    exact = -float(peer.log_prob(peer.sample(th.Size([100_000]))).mean())
    assert float(TanhNormalActions(*raw).entropy()) == pytest.approx(exact, abs=0.2)


# ---------------------------------------------------------------------- one-hot


SIZES = [3, 2]


def test_one_hot_draws_go_straight_through() -> None:
    """The gradient of a draw is that of its probabilities, dimension by dimension."""
    logits = th.randn(4, 5, dtype=th.float64, requires_grad=True)
    action = OneHotActions(logits, SIZES).sample(th.Generator().manual_seed(0))
    values = th.randn(4, 5, dtype=th.float64)
    (found,) = th.autograd.grad((action * values).sum(), logits)
    probs = th.cat([part.softmax(-1) for part in logits.split(SIZES, -1)], -1)
    (expected,) = th.autograd.grad((probs * values).sum(), logits)
    th.testing.assert_close(found, expected)
    for part in action.detach().split(SIZES, -1):
        assert th.equal(part.round().sum(-1), th.ones(4).double())
        th.testing.assert_close(part, part.round())


def test_one_hot_draws_follow_their_probabilities() -> None:
    logits = th.tensor([0.5, -1.0, 1.2, 0.0, 0.8])
    drawn = OneHotActions(logits.expand(20_000, -1), SIZES).sample(th.Generator().manual_seed(0))
    probs = th.cat([part.softmax(-1) for part in logits.split(SIZES, -1)], -1)
    assert (drawn.mean(0) - probs).abs().max() < 0.015


def test_log_prob_has_no_gradient_through_the_action() -> None:
    """Pitfall 3: else the straight-through gradient is added to the score."""
    logits = th.randn(6, 5, dtype=th.float64, requires_grad=True)
    policy = OneHotActions(logits, SIZES)
    action = policy.sample(th.Generator().manual_seed(0))
    (found,) = th.autograd.grad(policy.log_prob(action).sum(), logits)
    probs = th.cat([part.softmax(-1) for part in logits.split(SIZES, -1)], -1)
    th.testing.assert_close(found, action.detach() - probs.detach())


def test_one_hot_log_prob_entropy_and_mode_against_a_loop() -> None:
    logits = th.randn(4, 5)
    policy = OneHotActions(logits, SIZES)
    action = policy.sample(th.Generator().manual_seed(1))
    codec = ActionCodec(spaces.MultiDiscrete(SIZES))
    index, mode = codec.decode(action), codec.decode(policy.mode())
    for row in range(4):
        log_prob, entropy = 0.0, 0.0
        for dim, part in enumerate(logits[row].split(SIZES)):
            weights = [math.exp(x) for x in part.tolist()]
            probs = [x / sum(weights) for x in weights]
            assert mode[row, dim] == max(range(len(probs)), key=probs.__getitem__)
            log_prob += math.log(probs[int(index[row, dim])])
            entropy -= sum(p * math.log(p) for p in probs)
        assert float(policy.log_prob(action)[row]) == pytest.approx(log_prob, rel=1e-5)
        assert float(policy.entropy()[row]) == pytest.approx(entropy, rel=1e-5)


def test_a_certain_policy_has_entropy_zero_and_no_nan() -> None:
    logits = th.tensor([[500.0, -500.0, 0.0, 300.0, -300.0]], requires_grad=True)
    policy = OneHotActions(logits, SIZES)
    entropy = policy.entropy()
    assert float(entropy) == 0.0
    assert th.autograd.grad(entropy.sum(), logits)[0].isfinite().all()
