"""Sums of columns equal products, wherever the inputs are one-hot vectors, and only there."""

import pytest
import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.fast import kernels, one_hots
from dreamzoo.nn.fast.switch import use

CLASSES, VECTORS, OUT = 9, 5, 300  # more outputs than a thread's share
WIDTH = CLASSES * VECTORS
ROWS = one_hots.LEAST_ROWS

needs_numba = pytest.mark.skipif(kernels.compiled is None, reason="numba is not installed")


def _inputs(before: int, after: int, lead: tuple[int, ...] = (ROWS,)) -> tuple[Tensor, slice]:
    drawn = F.one_hot(th.randint(0, CLASSES, (*lead, VECTORS)), CLASSES).float().flatten(-2)
    x = th.cat([th.randn(*lead, before), drawn, th.randn(*lead, after)], dim=-1)
    return x, slice(before, before + WIDTH)


def _is_summed(result: Tensor) -> bool:
    assert result.grad_fn is not None
    return type(result.grad_fn).__name__ == "OneHotLinearBackward"


def _weights(width: int) -> tuple[Tensor, Tensor]:
    return th.randn(OUT, width, requires_grad=True), th.randn(OUT, requires_grad=True)


@needs_numba
@pytest.mark.parametrize(("before", "after"), [(0, 0), (7, 0), (0, 3), (7, 3)])
def test_sums_have_the_value_and_the_gradients_of_products(before: int, after: int) -> None:
    th.manual_seed(0)
    x, ones = _inputs(before, after, (2, ROWS))
    x.requires_grad_()
    weight, bias = _weights(x.shape[-1])
    found, expected = one_hots.linear(x, weight, bias, ones), F.linear(x, weight, bias)
    assert _is_summed(found)
    th.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    grad = th.randn_like(found)
    gradients = (th.autograd.grad(result, [x, weight, bias], grad) for result in (found, expected))
    for one, other in zip(*gradients, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@needs_numba
def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    x, ones = _inputs(7, 0)
    weight, bias = _weights(x.shape[-1])
    results, threads = [], th.get_num_threads()
    try:
        for n in (1, 2):
            th.set_num_threads(n)
            result = one_hots.linear(x, weight, bias, ones)
            results.append((result, *th.autograd.grad(result.square().sum(), [weight, bias])))
    finally:
        th.set_num_threads(threads)
    assert all(th.equal(one, other) for one, other in zip(*results, strict=True))


@needs_numba
@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("row", [0, ROWS - 1])
def test_numbers_that_are_no_one_hot_vectors_are_multiplied(value: float, row: int) -> None:
    x, ones = _inputs(7, 0)
    place = int(x[row, ones].argmax()) + ones.start
    x[row, place] = value
    weight, bias = _weights(x.shape[-1])
    found = one_hots.linear(x, weight, bias, ones)
    assert not _is_summed(found)
    assert th.equal(found.nan_to_num(), F.linear(x, weight, bias).nan_to_num())


@needs_numba
def test_a_vector_with_two_ones_or_none_is_multiplied() -> None:
    for change in (0.0, 1.0):
        x, ones = _inputs(0, 0)
        x[3, : CLASSES if change == 0.0 else 2] = change
        weight, bias = _weights(WIDTH)
        assert not _is_summed(one_hots.linear(x, weight, bias, ones))


def test_few_rows_other_dtypes_and_the_plain_form_are_multiplied() -> None:
    x, ones = _inputs(7, 0)
    weight, bias = _weights(x.shape[-1])
    assert not _is_summed(one_hots.linear(x[:-1], weight, bias, ones))
    assert not _is_summed(one_hots.linear(x.double(), weight.double(), bias.double(), ones))
    with use("plain"):
        assert not _is_summed(one_hots.linear(x, weight, bias, ones))
