"""Recurrent cells of Dreamer V1 and V2 against loops over single numbers."""

import math

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo.nn.networks.gru import LayerNormGRU, init_like_keras_

INPUTS, DETER = 3, 4


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _slow(cell: LayerNormGRU, x: list[float], h: list[float], *, norm: bool) -> list[float]:
    """DreamerV2's cell, number by number: parts are reset, candidate, update, in this order."""
    weight, bias = cell.linear.weight.tolist(), cell.linear.bias.tolist()
    known = [*x, *h]
    parts = [
        b + sum(w * k for w, k in zip(row, known, strict=True))
        for row, b in zip(weight, bias, strict=True)
    ]
    if norm:
        assert isinstance(cell.norm, nn.LayerNorm)
        mean = sum(parts) / len(parts)
        size = math.sqrt(sum((p - mean) ** 2 for p in parts) / len(parts) + 1e-3)
        scale, shift = cell.norm.weight.tolist(), cell.norm.bias.tolist()
        parts = [(p - mean) / size * a + b for p, a, b in zip(parts, scale, shift, strict=True)]
    after = []
    for i, old in enumerate(h):
        reset, candidate, update = (parts[k * DETER + i] for k in range(3))
        candidate = math.tanh(_sigmoid(reset) * candidate)
        update = _sigmoid(update - 1)
        after.append(update * candidate + (1 - update) * old)
    return after


@pytest.mark.parametrize("norm", [True, False])
def test_layer_norm_gru_equals_a_loop_over_numbers(norm: bool) -> None:
    cell = LayerNormGRU(INPUTS, DETER, layer_norm=norm).double()
    for p in cell.parameters():
        p.data += 0.5 * th.randn_like(p)
    x, h = th.randn(5, INPUTS).double(), th.randn(5, DETER).double()
    expected = [_slow(cell, *row, norm=norm) for row in zip(x.tolist(), h.tolist(), strict=True)]
    th.testing.assert_close(cell(x, h), th.tensor(expected).double())


def test_update_gate_of_a_new_cell_keeps_most_of_the_memory() -> None:
    """Update bias -1: the candidate, here zero, has a weight of sigmoid(-1) = 0.268941."""
    cell = LayerNormGRU(INPUTS, DETER)
    cell.linear.weight.data.zero_()
    h = th.randn(2, DETER)
    th.testing.assert_close(cell(th.randn(2, INPUTS), h), (1 - 0.268941) * h)


def test_without_the_norm_a_cell_has_its_numbers_fewer() -> None:
    def count(cell: nn.Module) -> int:
        return sum(p.numel() for p in cell.parameters())

    with_norm, without = (LayerNormGRU(INPUTS, DETER, layer_norm=norm) for norm in (True, False))
    assert count(with_norm) - count(without) == 2 * 3 * DETER
    assert count(without) == (INPUTS + DETER + 1) * 3 * DETER


def test_gru_of_torch_is_the_one_of_keras() -> None:
    """Dreamer V1's: the reset gate after the product, the update gate keeps the *memory*."""
    cell = nn.GRUCell(INPUTS, DETER).double()
    x, h = th.randn(2, INPUTS).double(), th.randn(2, DETER).double()

    def gates(weight: Tensor, bias: Tensor, known: Tensor) -> tuple[Tensor, ...]:
        return (known @ weight.t() + bias).chunk(3, dim=1)

    from_x, from_h = gates(cell.weight_ih, cell.bias_ih, x), gates(cell.weight_hh, cell.bias_hh, h)
    reset, keep = (th.sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
    candidate = th.tanh(from_x[2] + reset * from_h[2])
    th.testing.assert_close(cell(x, h), keep * h + (1 - keep) * candidate)


def test_init_like_keras() -> None:
    cell = nn.GRUCell(50, 40)
    init_like_keras_(cell)
    limit = math.sqrt(6 / (50 + 3 * 40))
    assert 0.98 * limit < float(cell.weight_ih.detach().abs().max()) <= limit
    th.testing.assert_close(cell.weight_hh.t() @ cell.weight_hh, th.eye(40), rtol=0, atol=1e-5)
    assert not cell.bias_ih.any()
    assert not cell.bias_hh.any()
