"""Lambda returns and the return normalizer, against vectors and slow loops."""

import pytest
import torch as th

from dreamzoo.nn.returns import (
    ReturnNormalizer,
    lambda_return,
    replay_return,
    window_advantages,
)

REWARD = th.tensor([9.0, 1.0, 2.0, 3.0, 4.0])
VALUE = th.tensor([0.5, 1.0, 1.5, 2.0, 2.5])
CONT = th.tensor([0.99, 0.9, 0.8, 0.7, 0.6])
GAMMA = 1 - 1 / 333


def test_lambda_return_vector() -> None:
    """Appendix A2."""
    returns = lambda_return(REWARD[:, None], CONT[:, None], VALUE[:, None], 0.95)[:, 0]
    th.testing.assert_close(returns, th.tensor([7.17783, 7.17290, 6.72750, 5.5]), atol=1e-5, rtol=0)
    weight = th.tensor([0.99, 0.891, 0.7128, 0.49896, 0.299376])
    th.testing.assert_close(CONT.cumprod(0), weight, atol=1e-6, rtol=0)


def test_lambda_return_ignores_what_belongs_to_the_start() -> None:
    """Reward and discount of state 0 were earned before it: using them is one step off."""
    base = lambda_return(REWARD[:, None], CONT[:, None], VALUE[:, None], 0.95)
    reward, cont, value = REWARD.clone(), CONT.clone(), VALUE.clone()
    reward[0], cont[0], value[0] = -1e3, 0.0, 1e3
    assert th.equal(lambda_return(reward[:, None], cont[:, None], value[:, None], 0.95), base)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("horizon", [1, 2, 15])
def test_lambda_return_equals_the_mixture_of_n_step_returns(horizon: int, lambda_: float) -> None:
    generator = th.Generator().manual_seed(0)
    reward, value = (
        th.randn(horizon + 1, 3, generator=generator, dtype=th.float64) for _ in range(2)
    )
    cont = th.rand(horizon + 1, 3, generator=generator, dtype=th.float64)
    returns = lambda_return(reward, cont, value, lambda_)
    assert returns.shape == (horizon, 3)
    for i in range(horizon):
        expected = th.zeros(3, dtype=th.float64)
        for n in range(1, horizon - i + 1):
            n_step, discount = th.zeros(3, dtype=th.float64), th.ones(3, dtype=th.float64)
            for k in range(i + 1, i + n + 1):
                n_step = n_step + discount * reward[k]
                discount = discount * cont[k]
            n_step = n_step + discount * value[i + n]
            last = n == horizon - i
            share = lambda_ ** (n - 1) * (1.0 if last else 1 - lambda_)
            expected = expected + share * n_step
        th.testing.assert_close(returns[i], expected)


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        (1.0, [2.944144, 2.0, 9.249045, 6.492492]),
        (0.0, [4.360598, 3.495495, 9.249045, 6.492492]),
    ],
)
def test_replay_return_vector(terminal: float, expected: list[float]) -> None:
    """Appendix A3: a termination ends the return, a time limit bootstraps from its last state."""
    is_last = th.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    returns = replay_return(REWARD[None], is_last, is_last * terminal, VALUE[None], GAMMA, 0.95)
    th.testing.assert_close(returns, th.tensor([expected]), atol=1e-5, rtol=0)


def test_replay_return_does_not_look_past_an_episode_end() -> None:
    is_last = th.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    zeros = th.zeros(1, 5)
    base = replay_return(REWARD[None], is_last, zeros, VALUE[None], GAMMA, 0.95)
    reward, value = REWARD[None].clone(), VALUE[None].clone()
    reward[:, 3:], value[:, 3:] = 1e3, -1e3
    assert th.equal(replay_return(reward, is_last, zeros, value, GAMMA, 0.95)[:, :2], base[:, :2])


def test_replay_return_of_a_single_step_is_empty() -> None:
    one = th.ones(4, 1)
    assert replay_return(one, one, one, one, GAMMA, 0.95).shape == (4, 0)


def test_return_normalizer_vector() -> None:
    """Appendix A7: both percentiles averaged apart, from zero, never debiased."""
    normalizer = ReturnNormalizer()
    returns = th.arange(0, 20.01, 0.2)
    lows, highs = [], []
    for _ in range(3):
        normalizer.update(returns)
        lows.append(float(normalizer.low_value))
        highs.append(float(normalizer.high_value))
        assert float(normalizer.scale) == 1.0
    assert lows == pytest.approx([0.01, 0.0199, 0.029701], abs=1e-5)
    assert highs == pytest.approx([0.19, 0.3781, 0.564319], abs=1e-5)


def test_return_normalizer_divides_by_the_range_once_it_exceeds_one() -> None:
    normalizer = ReturnNormalizer()
    for _ in range(2000):
        normalizer.update(th.arange(0, 20.01, 0.2))
    assert float(normalizer.scale) == pytest.approx(18.0, abs=1e-3)
    assert set(normalizer.state_dict()) == {"low_value", "high_value"}


def test_return_normalizer_pools_all_values_whatever_their_shape() -> None:
    one, other = ReturnNormalizer(), ReturnNormalizer()
    returns = th.randn(15, 40, generator=th.Generator().manual_seed(0))
    one.update(returns)
    other.update(returns.t().flatten())
    assert th.equal(one.low_value, other.low_value)
    assert th.equal(one.high_value, other.high_value)


@pytest.mark.parametrize("lambda_", [0.0, 0.9, 1.0])
def test_window_advantages_equal_the_sum_of_their_deltas(lambda_: float) -> None:
    """Equation 16 of Schulman et al.: row by row, and no further than an episode or the window."""
    generator = th.Generator().manual_seed(0)
    reward, value, bootstrap = (th.randn(3, 7, generator=generator) for _ in range(3))
    is_last = th.rand(3, 7, generator=generator) < 0.3
    found = window_advantages(reward, value, bootstrap, is_last, 0.9, lambda_)
    for row in range(3):
        for t in range(7):
            expected, weight = 0.0, 1.0
            for k in range(t, 7):
                ends = bool(is_last[row, k]) or k == 6
                after = bootstrap[row, k] if ends else value[row, k + 1]
                expected += weight * float(reward[row, k] + 0.9 * after - value[row, k])
                weight *= 0.9 * lambda_
                if ends:
                    break
            assert float(found[row, t]) == pytest.approx(expected, abs=1e-5)
