"""The functions in Triton against their plain form in float64; without a GPU in an interpreter."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast import kernels
from tests.nn.fast.triton_forms import DEVICES, Random, assert_equal_forms, both

pytest.importorskip("triton")


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> str:
    """Where Triton computes."""
    return request.param


@pytest.fixture(autouse=True)
def _without_gradient() -> Iterator[None]:
    with th.no_grad():
        yield


#: Rows, groups, width of a group, column where wider rows begin, and how wide they are.
NORMS = [(1, 1, 1, 0, 1), (5, 2, 6, 3, 17), (16, 2, 64, 0, 192), (37, 1, 300, 0, 300)]
#: These have too many rows for one program to sum them, or too wide ones.
LARGE_NORMS = [(200, 2, 33, 0, 66), (16, 1, 2048, 0, 2048)]


@pytest.mark.parametrize("shape", [*NORMS, *LARGE_NORMS])
def test_norm_silu(where: str, shape: tuple[int, ...]) -> None:
    rows, groups, width, at, wide = shape

    def case(random: Random) -> list[Tensor]:
        x, scale = random.normal(rows, groups * width), random.normal(groups, width)
        out = kernels.norm_silu(x, scale, random.ones(rows, wide), at)
        return [out, kernels.norm_silu(x, scale, x)]

    assert_equal_forms(case, where)


@pytest.fixture
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each program that leaves partial sums behind several tiles, the last one fewer."""
    monkeypatch.setattr("dreamzoo.nn.fast.triton.kernels.FEW_PARTS", 7)


@pytest.mark.usefixtures("_few_programs")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [*NORMS, *LARGE_NORMS])
def test_norm_silu_backward(where: str, shape: tuple[int, ...], bias: bool) -> None:
    rows, groups, width, at, wide = shape

    def case(random: Random) -> list[Tensor]:
        x, scale = random.normal(rows, groups * width), random.normal(groups, width)
        scale_grad, bias_grad = random.ones(groups, width), random.ones(groups * width)
        grad = random.normal(rows, wide)
        given = bias_grad if bias else None
        x_grad = kernels.norm_silu_backward(x, scale, grad, scale_grad, at, given)
        return [x_grad, scale_grad, bias_grad]

    assert_equal_forms(case, where, 2e-5)


#: Blocks, rows, width of a block.
BLOCKS: list[Any] = [(1, 1, 1), (3, 5, 4), (8, 16, 64), (2, 100, 33)]
BLOCKS += [pytest.param((8, 16, 256), marks=pytest.mark.slow)]  # slow in the interpreter


@pytest.mark.parametrize("shape", BLOCKS)
def test_block_norm_silu(where: str, shape: tuple[int, int, int]) -> None:
    blocks, rows, width = shape

    def case(random: Random) -> list[Tensor]:
        dense, own = random.normal(rows, blocks * width), random.normal(*shape)
        scale, out = random.normal(blocks * width), random.ones(*shape)
        kernels.block_norm_silu(dense, own, scale, out)
        grad, x_grad = random.normal(*shape), random.ones(rows, blocks * width)
        scale_grad = random.ones(blocks * width)
        kernels.block_norm_silu_backward(dense, scale, grad, x_grad, scale_grad)
        return [dense, out, x_grad, scale_grad]

    assert_equal_forms(case, where, 2e-5)


@pytest.mark.parametrize("shape", [*BLOCKS, (1, 3, 700)])
def test_gru(where: str, shape: tuple[int, int, int]) -> None:
    blocks, rows, width = shape

    def case(random: Random) -> list[Tensor]:
        gates, bias = random.normal(blocks, rows, 3 * width), random.normal(blocks, 3 * width)
        deter, out = random.normal(rows, blocks * width + 2), random.ones(rows, blocks * width + 3)
        kernels.gru(gates, bias, deter, out)
        grad, gates_grad = random.normal(rows, blocks * width), random.ones(blocks, rows, 3 * width)
        back = kernels.gru_backward(gates, bias, deter, grad, gates_grad)
        return [out, gates_grad, back]

    assert_equal_forms(case, where)


#: Rows, latents, classes.
CATEGORICALS = [(1, 1, 2), (7, 6, 5), (16, 32, 4), (16, 32, 16), (3, 2, 96)]


@pytest.mark.parametrize("shape", CATEGORICALS)
def test_sample_mixed(where: str, shape: tuple[int, int, int]) -> None:
    rows, latents, classes = shape

    def case(random: Random) -> list[Tensor]:
        logits, draws = random.normal(*shape), random.uniform(rows, latents)
        probs, best = random.ones(*shape), random.ones(*shape)
        out, likely = (random.ones(rows, latents * classes + 5) for _ in range(2))
        kernels.sample_mixed(logits, 0.01, draws, probs, out, at=3)
        kernels.sample_mixed(logits, 0.01, None, best, likely, at=4)
        grad, logits_grad = random.normal(*shape), random.ones(*shape)
        kernels.mixed_backward(probs, 0.01, grad, logits_grad)
        return [probs, best, logits_grad, out, likely]

    fast, plain = both(case, where)
    for one, other in zip(fast[:3], plain[:3], strict=True):
        th.testing.assert_close(one.double(), other, rtol=5e-6, atol=5e-6)
    # Draws at least a rounding away from a step of the cumulative distribution: the same classes.
    for one, other in zip(fast[3:], plain[3:], strict=True):
        assert th.equal(one.double(), other)


def test_a_draw_of_almost_one_takes_the_last_class(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        logits, probs, out = random.normal(1, 1, 7), random.ones(1, 1, 7), random.ones(1, 7)
        draws = random.ones(1, 1) - 2**-24
        kernels.sample_mixed(logits, 0.01, draws, probs, out)
        first = out.clone()
        kernels.sample_mixed(logits, 0.01, 0 * draws, probs, out)
        return [first, out]

    (last, first), _ = both(case, where)
    assert last.tolist() == [[0.0] * 6 + [1.0]]
    assert first.tolist() == [[1.0] + [0.0] * 6]


@pytest.mark.parametrize("shape", [(1, 1), (9, 15), (130, 127)])
def test_two_hot_scalars(where: str, shape: tuple[int, int]) -> None:
    rows, half = shape

    def case(random: Random) -> list[Tensor]:
        outer = random.uniform(half).cumsum(0)
        logits = random.normal(rows, 2 * half + 1)
        out, scale = random.ones(rows, 2 * half + 1), random.normal(rows)
        normalizer = kernels.log_normalizer(logits)
        kernels.scaled_softmax(logits, normalizer, scale, out)
        return [kernels.two_hot_mean(logits, outer), normalizer, out]

    assert_equal_forms(case, where)


def test_uniform_logits_have_a_mean_of_exactly_zero(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        return [kernels.two_hot_mean(random.ones(3, 255), 5e8 * random.uniform(127))]

    fast, _ = both(case, where)
    assert fast[0].tolist() == [0.0] * 3


def test_no_rows_are_nothing_to_do(where: str) -> None:
    def case(random: Random) -> list[Tensor]:
        empty, scale, total = random.ones(0, 6), random.ones(2, 3), random.ones(2, 3)
        kernels.norm_silu(empty, scale, empty)
        kernels.norm_silu_backward(empty, scale, empty, total)
        return [total, kernels.log_normalizer(empty)]

    fast, plain = both(case, where)
    assert fast[0].tolist() == plain[0].tolist() == [[1.0] * 3] * 2
    assert fast[1].shape == plain[1].shape == (0,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(where: str, bad: float) -> None:
    """The finite check before an update sees only what comes through here."""

    def case(random: Random) -> list[Tensor]:
        x = random.normal(2, 5)
        x[0, 1] = bad
        scale, total = random.ones(1, 5), random.ones(1, 5)
        back = kernels.norm_silu_backward(x, scale, random.ones(2, 5), total)
        gates, out = random.ones(1, 2, 6), random.ones(2, 2)
        gates[0, 0, 2] = float("nan")
        kernels.gru(gates, random.ones(1, 6), random.ones(2, 2), out)
        probs, sample = random.ones(2, 1, 5), random.ones(2, 5)
        kernels.sample_mixed(x.view(2, 1, 5), 0.01, random.uniform(2, 1), probs, sample)
        return [
            kernels.norm_silu(x, scale, random.ones(2, 5)),
            back,
            out,
            probs.flatten(1),
            kernels.log_normalizer(x)[:, None],
            kernels.two_hot_mean(x, random.ones(2))[:, None],
        ]

    fast, _ = both(case, where)
    for result in fast:
        assert not result[0].isfinite().all()
        assert result[1].isfinite().all()


def test_sums_over_rows_never_change(where: str) -> None:
    """Not even by the order in which programs end."""

    def case(random: Random) -> list[Tensor]:
        x, scale, total = random.normal(200, 48), random.normal(1, 48), random.ones(1, 48)
        kernels.norm_silu_backward(x, scale, random.normal(200, 48), total)
        return [total]

    (first,), _ = both(case, where)
    for _ in range(3 if where == "cuda" else 1):
        assert th.equal(both(case, where)[0][0], first)


@pytest.mark.parametrize(
    "spoil", [lambda x: x[:-1], lambda x: x.double(), lambda x: th.stack([x, x], -1)[..., 0]]
)
def test_kernels_are_not_called_with_what_does_not_fit(
    where: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    def case(random: Random) -> list[Tensor]:
        return [
            kernels.norm_silu(random.ones(4, 6), random.ones(2, 3), spoil(random.ones(4, 6))),
        ]

    with pytest.raises(ValueError, match="belong together"):
        both(case, where)
