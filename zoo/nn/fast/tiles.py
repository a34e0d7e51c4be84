"""What Triton kernels of small matrix products share: tiles of memory, products, row sums."""

from functools import cache
from typing import Any, NamedTuple

import torch as th
import triton
import triton.language as tl

from dreamzoo.nn.fast.kernels import NORM_EPS
from dreamzoo.nn.fast.precision import Precision

#: Programs that a kernel should consist of, about as many as a large GPU has multiprocessors.
PROGRAMS = 96
#: Memory of a multiprocessor that copies on their way may take, bytes.
SHARED = 160 * 1024
#: Whether a kernel is set up while the one before computes, where a GPU can do that.
CHAIN = False

_EPS = tl.constexpr(NORM_EPS)


class Tiling(NamedTuple):
    """How a kernel divides its products; all numbers but the stages are powers of two."""

    rows: int  # of the batch, in one program
    cols: int  # of the result, in one program
    depth: int  # of the sum, in one iteration
    stages: int  # iterations whose operands are on their way at a time
    warps: int = 4

    @property
    def options(self) -> dict[str, int]:
        """Of a launch."""
        return {"num_warps": self.warps, "num_stages": self.stages}


def tile(
    rows: int, columns: int, depth: int, precision: Precision, products: int = 1, least: int = 16
) -> Tiling:
    """
    Divide products among programs.

    :param rows: of the batch
    :param columns: of all results together
    :param depth: numbers summed for each
    :param precision: of the products
    :param products: tiles of weights that one iteration reads
    :param least: columns that a program has at least, a power of two
    """
    rows = min(64, lanes(rows))
    cols = max(least, next((n for n in (64, 32) if columns >= PROGRAMS * n), 16))
    depth = min(lanes(depth), {"fp32": 32, "tf32": 64, "bf16": 128}[precision])
    if cols > 32 or rows > 32:
        depth = min(depth, 64)
    size = 2 if precision == "bf16" else 4
    stage = products * depth * (cols * size + 2 * rows * 4)
    return Tiling(rows, cols, depth, max(1, min(4, SHARED // stage)))


def lanes(n: int) -> int:
    """Round up to a width that a product of tiles can have."""
    return max(16, triton.next_power_of_2(n))


def options(precision: Precision, rows: int, device: th.device) -> dict[str, Any]:
    """
    Choose what all launches of a sequence share.

    :param precision: of products
    :param rows: of the batch
    :param device: where they run
    """
    chained = CHAIN and _can_chain(device)
    mode = "ieee" if precision == "fp32" else precision
    shared = {"PRECISION": mode, "ROWS": min(64, lanes(rows)), "CHAINED": chained}
    return shared | ({"launch_pdl": True} if chained else {})


@cache
def _can_chain(device: th.device) -> bool:
    return device.type == "cuda" and th.cuda.get_device_capability(device) >= (9, 0)


@triton.jit
def follow(CHAINED: tl.constexpr) -> None:
    """
    Wait for the kernel before, then let the one after be set up while this one computes.

    Without it, a kernel is set up when the one before has ended.
    """
    if CHAINED:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def load(
    x: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    by_i: tl.tensor,
    by_j: tl.tensor,
    end_i: tl.tensor,
    end_j: tl.tensor,
) -> tl.tensor:
    """Read x[i, j], zero outside of (end_i, end_j)."""
    inside = (i[:, None] < end_i) & (j[None, :] < end_j)
    return tl.load(x + i[:, None] * by_i + j[None, :] * by_j, mask=inside, other=0.0)


@triton.jit
def store(
    x: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    stride: tl.tensor,
    end_i: tl.tensor,
    end_j: tl.tensor,
    value: tl.tensor,
) -> None:
    """Write x[i, j] within (end_i, end_j)."""
    inside = (i[:, None] < end_i) & (j[None, :] < end_j)
    tl.store(x + i[:, None] * stride + j[None, :], value, mask=inside)


@triton.jit
def vector(x: tl.tensor, i: tl.tensor, end: tl.tensor) -> tl.tensor:
    """Read x[i], zero from ``end`` on."""
    return tl.load(x + i, mask=i < end, other=0.0)


@triton.jit
def dot(x: tl.tensor, w: tl.tensor, total: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Add a product to a total."""
    if PRECISION == "bf16":
        total = tl.dot(x.to(tl.bfloat16), w, total)
    else:
        total = tl.dot(x, w, total, input_precision=PRECISION)
    return total


@triton.jit
def sum_tiles(
    sums: tl.tensor, rows: tl.tensor, count: tl.tensor, TILES: tl.constexpr, LANES: tl.constexpr
) -> tl.tensor:
    """Add up what every tile left behind for a row, (tiles, B)."""
    parts = load(sums, tl.arange(0, LANES), rows, count, 1, TILES, count)
    return tl.sum(parts, axis=0)


@triton.jit
def inverse_rms(
    sums: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
) -> tl.tensor:
    """Return 1 / root mean square of rows of WIDTH numbers, (rows, 1)."""
    mean = sum_tiles(sums, rows, count, TILES, LANES) / WIDTH
    return (1.0 / tl.sqrt(mean + _EPS))[:, None]


@triton.jit
def silu(x: tl.tensor) -> tl.tensor:
    """Return x * sigmoid(x)."""
    return x * tl.sigmoid(x)
