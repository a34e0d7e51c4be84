"""Losses and returns in Triton against their plain form in float64."""

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.distributions import SymexpTwoHot
from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.returns import lambda_return, replay_return
from tests.nn.fast.triton_forms import DEVICES, Random, assert_equal_forms

pytest.importorskip("triton")


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> str:
    """Where Triton computes."""
    return request.param


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.5)])
@pytest.mark.parametrize(("rows", "bins"), [(1, 3), (70, 255)])
def test_two_hot_loss(where: str, rows: int, bins: int, weights: tuple[float, ...]) -> None:
    def case(random: Random) -> list[Tensor]:
        twohot = SymexpTwoHot(bins).to(where)
        logits = random.normal(rows, bins).requires_grad_()
        targets = [100 * random.normal(rows) for _ in weights]
        for target in targets:  # exactly on a bin, beyond the last ones
            target[: min(rows - 1, 4)] = th.tensor([0.0, 1e9, -1e9, float(twohot.bins[1])])[
                : min(rows - 1, 4)
            ]
        loss = twohot.loss(logits, *targets, weights=weights)
        (grad,) = th.autograd.grad(loss, logits, random.normal(rows).to(loss.dtype))
        return [loss, grad]

    assert_equal_forms(case, where, 1e-5)


def test_a_target_that_is_not_a_number_shows_in_the_loss(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        target = random.normal(2)
        target[0] = float("nan")
        return [SymexpTwoHot(5).to(where).loss(random.normal(2, 5), target)]

    with use("triton"):
        (loss,) = case(Random(where, th.float32))
    assert loss.isnan().tolist() == [True, False]


@pytest.mark.parametrize(("horizon", "rows"), [(1, 1), (2, 5), (15, 33), (16, 2)])
def test_lambda_return(where: str, horizon: int, rows: int) -> None:
    def case(random: Random) -> list[Tensor]:
        reward, value = random.normal(horizon + 1, rows), random.normal(horizon + 1, rows)
        with th.no_grad():
            return [lambda_return(reward, random.uniform(horizon + 1, rows), value, 0.95)]

    assert_equal_forms(case, where)


@pytest.mark.parametrize(("rows", "steps"), [(1, 2), (4, 3), (3, 64), (2, 66)])
def test_replay_return(where: str, rows: int, steps: int) -> None:
    def case(random: Random) -> list[Tensor]:
        reward, value = random.normal(rows, 2 * steps)[:, ::2], random.normal(rows, steps)
        last = (random.uniform(rows, steps) < 0.2).to(reward.dtype)
        terminal = last * (random.uniform(rows, steps) < 0.5)
        with th.no_grad():
            return [replay_return(reward, last, terminal, value, 0.997, 0.95)]

    assert_equal_forms(case, where)


def test_returns_of_a_single_step_are_empty(where: str) -> None:
    with th.no_grad(), use("triton"):
        one = th.ones(1, 3, device=where)
        assert lambda_return(one, one, one, 0.9).shape == (0, 3)
        assert replay_return(one.T, one.T, one.T, one.T, 0.9, 0.9).shape == (3, 0)
