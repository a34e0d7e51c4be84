"""DreamerV2's optimizer against a loop over single numbers."""

import math
from copy import deepcopy

import pytest
import torch as th

from dreamzoo.nn.optim import ShrinkingAdam


def _slow(x: float, grads: list[float], lr: float, eps: float, shrink: float) -> float:
    """Shrink, then Adam with its two averages corrected for their start."""
    first = second = 0.0
    for n, g in enumerate(grads, start=1):
        x *= 1 - shrink
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        x -= lr * first / (1 - 0.9**n) / (math.sqrt(second / (1 - 0.999**n)) + eps)
    return x


@pytest.mark.parametrize("shrink", [0.0, 1e-6, 0.01])
def test_steps_equal_a_loop_over_numbers(shrink: float) -> None:
    starts, grads = [0.7, -1.3], [[0.3, -2.0, 0.1], [1e-6, 4e-5, -1e-6]]
    p = th.nn.Parameter(th.tensor(starts, dtype=th.float64))
    optimizer = ShrinkingAdam([p], lr=1e-2, eps=1e-3, shrink=shrink)
    for step in range(3):
        p.grad = th.tensor([g[step] for g in grads], dtype=th.float64)
        optimizer.step()
    expected = [_slow(x, g, 1e-2, 1e-3, shrink) for x, g in zip(starts, grads, strict=True)]
    th.testing.assert_close(p.detach(), th.tensor(expected, dtype=th.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("lr", [1e-1, 1e-4, 0.0])
def test_the_decay_is_not_multiplied_by_the_learning_rate(lr: float) -> None:
    """Pitfall 11: with torch's AdamW it would be, and nearly vanish."""
    p = th.nn.Parameter(th.ones(3, dtype=th.float64))
    p.grad = th.zeros(3, dtype=th.float64)
    ShrinkingAdam([p], lr=lr, shrink=1e-3).step()
    assert p.tolist() == [1 - 1e-3] * 3


def test_biases_norms_and_parameters_without_a_gradient_shrink_too() -> None:
    net = th.nn.Sequential(th.nn.Linear(2, 3), th.nn.LayerNorm(3)).double()
    before = deepcopy(net)
    ShrinkingAdam(net.parameters(), shrink=0.25).step()
    for old, new in zip(before.parameters(), net.parameters(), strict=True):
        th.testing.assert_close(new, 0.75 * old)


def test_it_equals_torchs_adamw_with_the_decay_divided_by_the_rate() -> None:
    ours, theirs = (th.nn.Parameter(th.linspace(-1, 1, 5).double()) for _ in range(2))
    one = ShrinkingAdam([ours], lr=2e-4, shrink=1e-3)
    other = th.optim.AdamW([theirs], lr=2e-4, eps=1e-5, weight_decay=1e-3 / 2e-4)
    for _ in range(4):
        ours.grad = theirs.grad = th.randn(5).double()
        one.step()
        other.step()
    th.testing.assert_close(ours, theirs)


def test_state_is_saved_and_loaded() -> None:
    p = th.nn.Parameter(th.ones(2))
    optimizer = ShrinkingAdam([p], shrink=0.125)
    p.grad = th.ones(2)
    optimizer.step()
    other = ShrinkingAdam([th.nn.Parameter(th.ones(2))])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["shrink"] == 0.125
    (loaded,) = other.param_groups[0]["params"]
    other.step()  # without a gradient
    assert loaded.tolist() == [0.875, 0.875]
    optimizer.add_param_group({"params": [th.nn.Parameter(th.ones(1))]})
    assert optimizer.param_groups[1]["shrink"] == 0.125


def test_a_closure_is_called_once_with_gradients_and_before_anything_shrinks() -> None:
    p = th.nn.Parameter(th.ones(1))
    seen = []

    def closure() -> float:
        seen.append(float(p.detach()))
        loss = p.square().sum()
        optimizer.zero_grad()
        loss.backward()
        return float(loss.detach())

    optimizer = ShrinkingAdam([p], shrink=0.5)
    assert optimizer.step(closure) == 1.0
    assert seen == [1.0]


def test_a_share_of_all_or_more_is_refused() -> None:
    for shrink in (1.0, -0.1):
        with pytest.raises(ValueError, match="must be at least 0 and less than 1"):
            ShrinkingAdam([th.nn.Parameter(th.ones(1))], shrink=shrink)
