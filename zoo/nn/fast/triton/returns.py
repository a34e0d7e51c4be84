"""
Returns of :mod:`dreamzoo.nn.returns` in Triton: one launch for all steps, without a gradient.

``R_t = a_t + b_t R_{t+1}`` is a scan: two steps, one after the other, are a step of the same form.
"""

import triton
import triton.language as tl
from torch import Tensor

from dreamzoo.nn.fast.triton.kernels import check, launch, warps


@triton.jit
def _after(later_a: tl.tensor, later_b: tl.tensor, a: tl.tensor, b: tl.tensor) -> tl.tensor:
    return a + b * later_a, b * later_b


@triton.jit
def _returns(
    reward: tl.tensor,
    live: tl.tensor,
    value: tl.tensor,
    mix: tl.tensor,
    step: tl.tensor,
    last: tl.tensor,
) -> tl.tensor:
    """Compute returns before each of the steps, the last of which bootstraps from its value."""
    ends = step == last
    a = reward + live * tl.where(ends, value, (1 - mix) * value)
    b = tl.where(ends, 0.0, live * mix)
    a, _ = tl.associative_scan((a, b), 0, _after, reverse=True)
    return a


@triton.jit
def _lambda_return_kernel(
    reward: tl.tensor,
    cont: tl.tensor,
    value: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    mix: tl.tensor,
    horizon: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    step = tl.arange(0, tall)[:, None]
    row = tl.program_id(0) * columns + tl.arange(0, columns)[None, :]
    inside = (step < horizon) & (row < rows)
    place = step * rows + row
    arrived = place + rows
    result = _returns(
        tl.load(reward + arrived, inside, 0.0),
        tl.load(cont + arrived, inside, 0.0),
        tl.load(value + arrived, inside, 0.0),
        mix,
        step,
        horizon - 1,
    )
    tl.store(out + place, result, inside)


def lambda_return(reward: Tensor, cont: Tensor, value: Tensor, lambda_: float) -> Tensor:
    reward, cont, value = (x.contiguous() for x in (reward, cont, value))
    shape = tuple(reward.shape)
    check((reward, shape), (cont, shape), (value, shape))
    out, (steps, rows) = reward.new_empty(shape[0] - 1, *shape[1:]), shape
    tall, columns = triton.next_power_of_2(max(steps - 1, 1)), 16
    grid = (triton.cdiv(rows, columns) if steps > 1 else 0,)
    sizes = rows, lambda_, steps - 1, tall, columns
    n = warps(tall * columns)
    launch(_lambda_return_kernel, grid, reward, cont, value, out, *sizes, num_warps=n)
    return out


@triton.jit
def _replay_return_kernel(
    reward: tl.tensor,
    is_last: tl.tensor,
    is_terminal: tl.tensor,
    bootstrap: tl.tensor,
    out: tl.tensor,
    gamma: tl.tensor,
    lambda_: tl.tensor,
    steps: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    step = tl.arange(0, columns)
    inside = step < steps
    arrived = row * (steps + 1) + step + 1
    result = _returns(
        tl.load(reward + arrived, inside, 0.0),
        (1 - tl.load(is_terminal + arrived, inside, 0.0)) * gamma,
        tl.load(bootstrap + arrived, inside, 0.0),
        (1 - tl.load(is_last + arrived, inside, 0.0)) * lambda_,
        step,
        steps - 1,
    )
    tl.store(out + row * steps + step, result, inside)


def replay_return(
    reward: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    gamma: float,
    lambda_: float,
) -> Tensor:
    given = [x.contiguous() for x in (reward, is_last, is_terminal, bootstrap)]
    rows, steps = shape = tuple(reward.shape)
    check(*((x, shape) for x in given))
    out = reward.new_empty(rows, steps - 1)
    columns = triton.next_power_of_2(max(steps - 1, 1))
    grid = (rows if steps > 1 else 0,)
    sizes = gamma, lambda_, steps - 1, columns
    launch(_replay_return_kernel, grid, *given, out, *sizes, num_warps=warps(columns))
    return out
