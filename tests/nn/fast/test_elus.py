"""ELUs by a polynomial, stacks of them and torch's GRU cell equal torch's own, forward and back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.fast import dense, elus, gru_cells, kernels
from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.networks.gru import GRUCell
from dreamzoo.nn.networks.world_models import ELU, expect_one_hots, glorot_mlp

needs_numba = pytest.mark.skipif(kernels.compiled is None, reason="numba is not installed")
ROWS = 2 * dense.ROWS + 7


def _names(out: Tensor) -> list[str]:
    """Name what made a tensor, views of it left out."""
    node, names = out.grad_fn, []
    while node is not None:
        names.append(type(node).__name__)
        node = node.next_functions[0][0] if "View" in names[-1] else None
    return names


def compare(
    function: Callable[[], Tensor], sources: list[Tensor], node: str
) -> tuple[list[Tensor], ...]:
    """Return values and gradients of both forms; the fast one must be what it is said to be."""
    results = []
    for form in ("fast", "plain"):
        with use(form):
            out = function()
            assert (node in _names(out)) == (form == "fast")
            grad = th.randn(out.shape, generator=th.Generator().manual_seed(1))
            found = th.autograd.grad(out, sources, grad, retain_graph=True)
            again = th.autograd.grad(out, sources, grad)
            assert all(th.equal(*pair) for pair in zip(found, again, strict=True))
            results.append([out, *found])
    return tuple(results)


def assert_equal(results: tuple[list[Tensor], ...], scale: float = 1.0) -> None:
    for fast, plain in zip(*results, strict=True):
        th.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5 * scale)
        assert plain.any()


@needs_numba
@pytest.mark.parametrize("channels_last", [False, True])
def test_elus_of_any_layout_have_value_and_gradient(channels_last: bool) -> None:
    x = 3 * th.randn(4, 5, 16, 17, requires_grad=True)
    layout = th.channels_last if channels_last else th.contiguous_format
    results = compare(lambda: ELU()(x.clone().contiguous(memory_format=layout)), [x], "EluBackward")
    assert_equal(results)


@needs_numba
def test_elus_are_precise_where_they_are_almost_nothing_and_where_they_saturate() -> None:
    x = th.cat([-th.logspace(-30, 3, 5000), th.logspace(-30, 30, 5000), th.zeros(1)])
    found, expected = elus.elu_(x.clone()), F.elu(x.double()).float()
    th.testing.assert_close(found, expected, rtol=3e-7, atol=0.0)


@needs_numba
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden_by_an_elu(bad: float) -> None:
    x = th.randn(4, elus.LEAST)
    x[2, 7] = bad
    expected = F.elu(x)
    th.testing.assert_close(elus.elu_(x.clone()), expected, equal_nan=True)
    biased = elus.biased_(x.clone(), th.zeros(x.shape[1]))
    th.testing.assert_close(biased, expected, equal_nan=True)


@needs_numba
def test_a_gradient_may_be_one_row_for_all_and_be_written_in_place() -> None:
    result = F.elu(th.randn(6, 9))
    for rows in (1, 6):
        grad = th.randn(rows, 9)
        with use("plain"):
            expected = elus.slope(grad, result)
        th.testing.assert_close(elus.slope(grad, result), expected)
        if rows > 1:
            elus.slope(grad, result, grad)
            th.testing.assert_close(grad, expected)


@needs_numba
def test_compiled_elus_are_not_called_with_what_does_not_fit() -> None:
    x = th.zeros(6, 9)
    with pytest.raises(ValueError, match=r"bias \(8,\) of numbers \(6, 9\)"):
        elus.biased_(x, th.zeros(8))
    for shape in ((6, 8), (5, 9)):
        with pytest.raises(ValueError, match="gradient"):
            elus.slope(th.zeros(shape), x)
    with pytest.raises(ValueError, match="into"):
        elus.slope(x, x, th.zeros(5, 9))


@needs_numba
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("lead", [(ROWS,), (2, ROWS)])
def test_stacks_of_layers_have_value_and_gradients(frozen: bool, lead: tuple[int, ...]) -> None:
    th.manual_seed(0)
    stack = glorot_mlp(6, [12, 11, 10], "elu")
    for p in stack.parameters():
        p.data += 0.1 * th.randn_like(p)
    stack.requires_grad_(not frozen)
    x = th.randn(*lead, 6, requires_grad=True)
    sources = [x, *([] if frozen else stack.parameters())]
    assert_equal(compare(lambda: stack(x), sources, "DenseBackward"), scale=30.0)


def test_a_single_row_passes_a_stack_without_a_batch_axis() -> None:
    stack, x = glorot_mlp(6, [5, 4], "elu"), th.randn(2, 6)
    th.testing.assert_close(stack(x[0]), stack(x)[0])


@needs_numba
def test_stacks_use_their_own_pass_and_leave_one_hot_vectors_to_sums() -> None:
    stack = glorot_mlp(36, [12, 11], "elu")
    x = F.one_hot(th.randint(0, 12, (ROWS, 3)), 12).flatten(-2).float()
    plain = glorot_mlp(36, [12, 11], "elu")
    plain.load_state_dict(stack.state_dict())
    expect_one_hots(slice(0, 36), stack)
    one, other = stack(x), plain(x)
    th.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    for layers in (stack, plain):
        assert layers(x).grad_fn is not None
    gradients = [
        th.autograd.grad(out.square().sum(), list(layers.parameters()))
        for out, layers in ((one, stack), (other, plain))
    ]
    for a, b in zip(*gradients, strict=True):
        th.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


@needs_numba
def test_what_stacks_compute_does_not_depend_on_the_number_of_threads() -> None:
    stack, x = glorot_mlp(6, [12, 11], "elu"), th.randn(5 * dense.ROWS, 6)
    results, threads = [], th.get_num_threads()
    try:
        for n in (1, 2):
            th.set_num_threads(n)
            out = stack(x)
            results.append((out, *th.autograd.grad(out.square().sum(), list(stack.parameters()))))
    finally:
        th.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert th.equal(one, other)


@needs_numba
@pytest.mark.parametrize("wanted", ["all", "states", "weights", "memory"])
def test_the_cell_is_torchs_with_every_gradient_that_is_wanted(wanted: str) -> None:
    th.manual_seed(0)
    cell = GRUCell(6, 9)
    cell.bias_ih.data.normal_()
    x, deter = th.randn(gru_cells.LEAST_ROWS, 6), th.randn(gru_cells.LEAST_ROWS, 18)[:, ::2]
    x.requires_grad_(wanted in ("all", "states"))
    deter.requires_grad_(wanted != "weights")
    cell.requires_grad_(wanted in ("all", "weights"))
    sources: list[Any] = [s for s in (x, deter, *cell.parameters()) if s.requires_grad]
    assert_equal(compare(lambda: cell(x, deter), sources, "CellBackward"))
    th.testing.assert_close(cell(x, deter), nn.GRUCell.forward(cell, x, deter))


@pytest.mark.parametrize("rows", [1, gru_cells.LEAST_ROWS])
def test_cells_refuse_what_does_not_fit_as_torchs_do(rows: int) -> None:
    cell, x = GRUCell(20, 30), th.randn(rows, 20)
    for deter in (th.zeros(rows + 1, 30), th.zeros(rows, 31)):
        with pytest.raises(RuntimeError, match=r"(?i)match|inconsistent"):
            cell(x, deter)
    assert cell(x[0], th.zeros(30)).shape == (30,)  # a single row needs no batch axis


def test_a_cell_begins_with_zeros_as_torchs_does() -> None:
    cell, x = GRUCell(3, 4), th.randn(5, 3)
    assert th.equal(cell(x), cell(x, th.zeros(5, 4)))
