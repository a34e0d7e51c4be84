"""Lambda returns of Dreamer V1 and V2, whose index differs from DreamerV3's, against slow loops."""

import math

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.returns import discount_weights, inclusive_lambda_return, lambda_return


def _numbers(horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (horizon + 1, 3)
    return th.randn(shape).double(), th.rand(shape).double(), th.randn(shape).double()


def _mixture(
    reward: list[float], discount: list[float], value: list[float], k: int, lam: float
) -> float:
    """Mix n-step returns of state k with the weights that lambda gives them."""
    last = len(value) - 1
    total = 0.0
    for n in range(1, last - k + 1):
        steps = sum(math.prod(discount[k : k + i]) * reward[k + i] for i in range(n))
        steps += math.prod(discount[k : k + n]) * value[k + n]
        total += steps * (lam ** (n - 1) * ((1 - lam) if k + n < last else 1.0))
    return total


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("horizon", [1, 2, 15])
def test_returns_equal_the_mixture_of_n_step_returns(horizon: int, lambda_: float) -> None:
    reward, discount, value = _numbers(horizon)
    found = inclusive_lambda_return(reward, discount, value, lambda_)
    assert found.shape == (horizon, 3)
    for row in range(3):
        r, d, v = (x[:, row].tolist() for x in (reward, discount, value))
        expected = [_mixture(r, d, v, k, lambda_) for k in range(horizon)]
        th.testing.assert_close(found[:, row], th.tensor(expected).double())


def test_a_return_includes_the_states_own_reward_and_no_use_is_made_of_the_last_one() -> None:
    """Pitfall 1: one step off, every action is judged by the reward before it."""
    reward, discount, value = _numbers(4)
    base = inclusive_lambda_return(reward, discount, value, 0.95)
    moved = reward.clone()
    moved[0] += 1.0
    expected = base.clone()
    expected[0] += 1.0
    th.testing.assert_close(inclusive_lambda_return(moved, discount, value, 0.95), expected)
    reward[-1], discount[-1], value[0] = 1e3, 1e3, 1e3
    assert th.equal(inclusive_lambda_return(reward, discount, value, 0.95), base)


def test_it_is_the_return_of_dreamer_v3_one_step_later() -> None:
    reward, discount, value = _numbers(5)
    zero = th.zeros(1, 3).double()
    reward_later, discount_later = (th.cat([zero, x[:-1]]) for x in (reward, discount))
    th.testing.assert_close(
        inclusive_lambda_return(reward, discount, value, 0.9),
        lambda_return(reward_later, discount_later, value, 0.9),
    )


def test_returns_have_the_gradient_of_every_part() -> None:
    """Actors learn through rewards, discounts and values."""
    parts = [x.requires_grad_() for x in _numbers(3)]
    assert th.autograd.gradcheck(lambda r, d, v: inclusive_lambda_return(r, d, v, 0.95), parts)


def test_weights_begin_at_one_and_have_no_gradient() -> None:
    discount = th.tensor([[0.9], [0.8], [0.7], [0.6]], requires_grad=True)
    weights = discount_weights(discount)
    th.testing.assert_close(weights[:, 0], th.tensor([1.0, 0.9, 0.72, 0.504]))
    assert not weights.requires_grad


def test_nothing_counts_after_a_terminal_start() -> None:
    """Pitfall 14: d_0 = 0 leaves the start itself its weight and takes that of all that follows."""
    weights = discount_weights(th.tensor([[0.0], [0.99], [0.99]]))
    assert weights[:, 0].tolist() == [1.0, 0.0, 0.0]
