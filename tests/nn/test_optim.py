"""LaProp with adaptive clipping, against vectors and a literal loop."""

import math
from copy import deepcopy

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.optim import LaProp


def _step(optimizer: LaProp, param: Tensor, grad: Tensor) -> None:
    param.grad = grad.clone()
    optimizer.step()


def test_laprop_vector() -> None:
    """Appendix A5: clip by tensor, normalize, then momentum; step size exactly zero at first."""
    param = th.nn.Parameter(th.tensor([0.3, -0.4], dtype=th.float64))
    optimizer = LaProp([param])
    steps = [
        ([1.0, 1.0], 0.0),
        ([0.983168, 1.008414], 4e-8),
        ([0.966431, 1.015600], 8e-8),
        ([0.949853, 1.021745], 1.2e-7),
    ]
    for n, (direction, rate) in enumerate(steps):
        before = param.detach().clone()
        grad = th.tensor([3.0, 4.0], dtype=th.float64) * th.tensor([1.0, 1.0 + 0.1 * n])
        _step(optimizer, param, grad)
        momentum = optimizer.state[param]["momentum"] / (1 - 0.9 ** (n + 1))
        th.testing.assert_close(momentum, th.tensor(direction, dtype=th.float64), atol=1e-6, rtol=0)
        th.testing.assert_close(before - param.detach(), rate * momentum, atol=1e-15, rtol=1e-6)


def test_laprop_equals_a_literal_loop() -> None:
    generator = th.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 2, 2)]
    params = [th.nn.Parameter(th.randn(s, generator=generator, dtype=th.float64)) for s in shapes]
    params.append(th.nn.Parameter(th.zeros(4, dtype=th.float64)))  # like a two-hot head's output
    optimizer = LaProp(params, lr=1e-2, warmup=5)
    plain = [p.detach().clone() for p in params]
    square = [th.zeros_like(p) for p in plain]
    momentum = [th.zeros_like(p) for p in plain]
    for n in range(1, 12):
        grads = [10 ** (n % 3 - 1) * th.randn(p.shape, generator=generator).double() for p in plain]
        for p, g in zip(params, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
        for i, g in enumerate(grads):
            cap = 0.3 * max(1e-3, float(plain[i].norm()))
            g = g / max(1.0, float(g.norm()) / cap)
            square[i] = 0.999 * square[i] + 0.001 * g**2
            u = g / ((square[i] / (1 - 0.999**n)).sqrt() + 1e-20)
            momentum[i] = 0.9 * momentum[i] + 0.1 * u
            rate = 1e-2 * min((n - 1) / 5, 1.0)
            plain[i] = plain[i] - rate * momentum[i] / (1 - 0.9**n)
        for p, q in zip(params, plain, strict=True):
            th.testing.assert_close(p.detach(), q)


def test_laprop_zero_gradients_move_nothing_and_stay_finite() -> None:
    """Pitfall 15: an eps of 1e-20 outside the root; 0 / 1e-20 is 0, not NaN."""
    param = th.nn.Parameter(th.ones(3))
    optimizer = LaProp([param], warmup=0)
    for _ in range(3):
        _step(optimizer, param, th.zeros(3))
    assert th.equal(param.detach(), th.ones(3))


def test_laprop_step_does_not_depend_on_the_scale_of_gradients() -> None:
    """An eps inside the root, or Adam's 1e-8, would silence small gradients."""
    results = []
    for scale in (1.0, 1e-12):
        param = th.nn.Parameter(th.ones(3))
        optimizer = LaProp([param], lr=0.1, warmup=0, agc=0.0)
        _step(optimizer, param, scale * th.tensor([1.0, -2.0, 3.0]))
        results.append(param.detach())
    th.testing.assert_close(results[0], results[1])
    th.testing.assert_close(results[0], th.tensor([0.9, 1.1, 0.9]))


@pytest.mark.parametrize(("size", "cap"), [(0.0, 3e-4), (1e-4, 3e-4), (2.0, 0.6)])
def test_adaptive_clipping_is_per_tensor_with_a_floor(size: float, cap: float) -> None:
    param = th.nn.Parameter(th.tensor([size]))
    other = th.nn.Parameter(th.full((50,), 10.0))
    optimizer = LaProp([param, other])
    other.grad = th.full((50,), 1e-3)
    _step(optimizer, param, th.tensor([1e3]))
    clipped = math.sqrt(float(optimizer.state[param]["square"]) / 0.001)
    assert clipped == pytest.approx(cap, rel=1e-3)
    untouched = math.sqrt(float(optimizer.state[other]["square"][0]) / 0.001)
    assert untouched == pytest.approx(1e-3, rel=1e-3)


def test_laprop_state_survives_a_state_dict() -> None:
    """Warm-up and bias correction count updates: a reload must not start them again."""
    generator = th.Generator().manual_seed(1)
    grads = th.randn(10, 3, generator=generator)
    one = th.nn.Parameter(th.ones(3))
    first = LaProp([one], lr=0.1, warmup=7)
    for grad in grads[:5]:
        _step(first, one, grad)
    other = th.nn.Parameter(one.detach().clone())
    second = LaProp([other], lr=0.1, warmup=7)
    second.load_state_dict(deepcopy(first.state_dict()))  # torch shares the tensors
    for grad in grads[5:]:
        _step(first, one, grad)
        _step(second, other, grad)
    assert th.equal(one, other)


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"warmup": -1}])
def test_laprop_refuses_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LaProp([th.nn.Parameter(th.ones(1))], **wrong)  # type: ignore[arg-type]


def test_laprop_takes_groups_that_are_added_later() -> None:
    early, late = (th.nn.Parameter(th.ones(2)) for _ in range(2))
    optimizer = LaProp([early], lr=0.1, warmup=0)
    early.grad = th.ones(2)
    optimizer.step()
    optimizer.add_param_group({"params": [late]})
    late.grad = th.ones(2)
    optimizer.step()
    assert [group["n_updates"] for group in optimizer.param_groups] == [2, 1]
    assert (late != 1).all()
