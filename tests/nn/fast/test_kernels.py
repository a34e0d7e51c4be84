"""The compiled element-wise functions against their plain form, and their edge cases."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.switch import Form, use

pytest.importorskip("numba")

Case = Callable[[], list[Tensor]]


def _randn(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * th.randn(*shape, generator=th.Generator().manual_seed(seed))


def _norm_silu() -> list[Tensor]:
    out = th.zeros(5, 20)
    kernels.norm_silu(_randn(5, 12), _randn(2, 6, seed=1), out, at=3)
    return [out]


def _norm_silu_backward() -> list[Tensor]:
    total = th.ones(2, 6)
    x, scale, grad = _randn(5, 12), _randn(2, 6, seed=1), _randn(5, 17, seed=2)
    return [kernels.norm_silu_backward(x, scale, grad, total, at=4), total]


def _block_norm_silu() -> list[Tensor]:
    dense, out = _randn(5, 12), th.zeros(3, 5, 4)
    kernels.block_norm_silu(dense, _randn(3, 5, 4, seed=1), _randn(12, seed=2), out)
    return [dense, out]


def _block_norm_silu_backward() -> list[Tensor]:
    out, total = th.zeros(5, 12), th.ones(12)
    kernels.block_norm_silu_backward(
        _randn(5, 12), _randn(12, seed=1), _randn(3, 5, 4, seed=2), out, total
    )
    return [out, total]


def _gru() -> list[Tensor]:
    out = th.zeros(5, 15)
    kernels.gru(_randn(3, 5, 12), _randn(3, 12, seed=1), _randn(5, 14, seed=2), out)
    return [out]


def _gru_backward() -> list[Tensor]:
    gates_grad = th.zeros(3, 5, 12)
    deter, grad = _randn(5, 14, seed=2), _randn(5, 12, seed=3)
    back = kernels.gru_backward(_randn(3, 5, 12), _randn(3, 12, seed=1), deter, grad, gates_grad)
    return [gates_grad, back]


def _sample_mixed() -> list[Tensor]:
    probs, out = th.zeros(7, 6, 5), th.zeros(7, 33)
    draws = th.rand(7, 6, generator=th.Generator().manual_seed(1))
    kernels.sample_mixed(_randn(7, 6, 5), 0.01, draws, probs, out, at=3)
    return [probs, out]


def _mixed_backward() -> list[Tensor]:
    out = th.zeros(7, 6, 5)
    probs = 0.99 * _randn(7, 6, 5).softmax(-1) + 0.002
    kernels.mixed_backward(probs, 0.01, _randn(7, 6, 5, seed=1), out)
    return [out]


def _two_hot_mean() -> list[Tensor]:
    return [kernels.two_hot_mean(_randn(9, 31), th.logspace(-2, 3, 15))]


def _log_normalizer() -> list[Tensor]:
    return [kernels.log_normalizer(_randn(9, 31, scale=30.0))]


def _scaled_softmax() -> list[Tensor]:
    out, logits = th.zeros(9, 31), _randn(9, 31)
    kernels.scaled_softmax(logits, logits.logsumexp(-1), _randn(9, seed=1), out)
    return [out]


CASES: list[Case] = [
    _norm_silu,
    _norm_silu_backward,
    _block_norm_silu,
    _block_norm_silu_backward,
    _gru,
    _gru_backward,
    _sample_mixed,
    _mixed_backward,
    _two_hot_mean,
    _log_normalizer,
    _scaled_softmax,
]


@pytest.fixture(autouse=True)
def _without_gradient() -> Iterator[None]:
    """Where gradients are enabled some functions keep to their plain form."""
    with th.no_grad():
        yield


@pytest.mark.parametrize("case", CASES)
def test_compiled_equals_plain(case: Case) -> None:
    assert kernels.uses_numba(th.zeros(1))
    fast = case()
    with use("torch"):
        assert not kernels.uses_numba(th.zeros(1))
        plain = case()
    for one, other in zip(fast, plain, strict=True):
        assert other.any()
        th.testing.assert_close(one, other, rtol=3e-6, atol=3e-6)


def test_only_float32_on_a_cpu_is_compiled() -> None:
    assert not kernels.uses_numba(th.zeros(1, dtype=th.float64))
    assert not kernels.uses_numba(th.zeros(1, device="meta"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    """The finite check before an update sees only what comes through here."""
    x = th.zeros(2, 4)
    x[0, 1] = bad
    out = kernels.norm_silu(x, th.ones(1, 4), th.zeros(2, 4))
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()
    logits = th.zeros(2, 5)
    logits[0, 1] = bad
    for result in (kernels.log_normalizer(logits), kernels.two_hot_mean(logits, th.ones(2))):
        assert not result[0].isfinite()
        assert result[1].isfinite()
    state, gates = th.zeros(2, 2), th.zeros(1, 2, 6)
    gates[0, 0, 2] = float("nan")
    kernels.gru(gates, th.zeros(1, 6), th.zeros(2, 2), state)
    assert not state[0].isfinite().all()
    assert state[1].isfinite().all()


def test_extreme_inputs_saturate() -> None:
    logits = th.tensor([[0.0, 1e4, -1e4], [-1e30, 0.0, 1e30]])
    th.testing.assert_close(kernels.log_normalizer(logits), logits.logsumexp(-1))
    out = th.zeros(1, 2)
    big = th.full((1, 1, 6), 1e4)
    kernels.gru(big, th.zeros(1, 6), th.full((1, 2), 0.5), out)
    th.testing.assert_close(out, th.ones(1, 2))
    kernels.gru(-big, th.zeros(1, 6), th.full((1, 2), 0.5), out)
    th.testing.assert_close(out, th.full((1, 2), 0.5))


@pytest.mark.parametrize("form", ["fast", "torch"])
def test_a_draw_of_almost_one_takes_the_last_class(form: Form) -> None:
    """The probabilities may sum to slightly less than one."""
    probs, out = th.zeros(1, 1, 7), th.zeros(1, 7)
    logits = _randn(1, 1, 7)
    with use(form):
        kernels.sample_mixed(logits, 0.01, th.full((1, 1), 1 - 2**-24), probs, out)
        assert out.tolist() == [[0.0] * 6 + [1.0]]
        kernels.sample_mixed(logits, 0.01, th.zeros(1, 1), probs, out)
        assert out.tolist() == [[1.0] + [0.0] * 6]


SPOILS: dict[str, Callable[[Tensor], Tensor]] = {
    "fewer rows": lambda x: x[:-1].clone(),
    "half the columns": lambda x: x[..., : x.shape[-1] // 2].clone(),
    "another axis": lambda x: x[None],
    "dtype": lambda x: x.double(),
    "strides": lambda x: th.stack([x, x], dim=-1)[..., 0],
}
#: Any number of rows is right, if nothing else has rows.
ROWS_ALONE = {"two_hot_mean", "log_normalizer"}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("case", CASES)
def test_compiled_code_is_not_called_with_what_does_not_fit(
    case: Case, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets pointers: too few rows corrupted the heap."""
    name = case.__name__.lstrip("_")
    function, calls = getattr(kernels, name), list[inspect.BoundArguments]()

    def note(*args: Any, **kwargs: Any) -> Any:
        calls.append(inspect.signature(function).bind(*args, **kwargs))
        return function(*args, **kwargs)

    monkeypatch.setattr(kernels, name, note)
    case()
    (call,) = calls
    tensors = [key for key, value in call.arguments.items() if isinstance(value, Tensor)]
    assert len(tensors) >= 1
    for i, key in enumerate(tensors):
        if i == 0 and (spoil == "dtype" or name in ROWS_ALONE):
            continue  # not compiled then, or right
        given = dict(call.arguments)
        given[key] = SPOILS[spoil](given[key])
        kept = {k: v.clone() for k, v in given.items() if isinstance(v, Tensor)}
        with th.no_grad(), pytest.raises(ValueError, match=r"belong together|values to unpack"):
            function(**given)
        assert all(th.equal(given[k], v) for k, v in kept.items())
