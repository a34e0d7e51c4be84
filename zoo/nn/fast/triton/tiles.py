"""What Triton kernels of small matrix products share: tiles of memory, products, row sums."""

from functools import cache
from typing import Any

import torch as th
import triton
import triton.language as tl

from dreamzoo.nn.fast.kernels import NORM_EPS
from dreamzoo.nn.fast.precision import Precision

#: One launch a sequence instead of five a step. Off: it compiles, but was never timed on a GPU, and
#: whichever of the two forms is slower there is to be deleted.
LOOP = False
#: Whether a kernel is set up while the one before computes, where a GPU can do that.
CHAIN = True
#: Longest sum that is computed at once.
SHORT = 256
_EPS = tl.constexpr(NORM_EPS)


def divide(
    rows: int,
    widths: tuple[int, int, int],
    latents: tuple[int, int],
    precision: Precision,
    device: th.device,
) -> dict[str, Any]:
    """
    Divide a sequence's products among programs.

    All programs run at the same time, at most one on a multiprocessor: they wait for each other.

    :param rows: of the batch
    :param widths: state, blocks and embeddings
    :param latents: number and classes
    :param precision: of products
    :param device: where they run
    """
    deter, block, embed = widths
    count, classes = latents
    tall = 16 if rows <= 16 else 32
    down = triton.cdiv(rows, tall)
    parallel = device.type == "cuda"  # in the interpreter, programs run one after the other
    most = th.cuda.get_device_properties(device).multi_processor_count if parallel else 128

    def columns(width: int, beside: int = 0) -> int:
        fits = (n for n in (16, 32) if down * (beside + triton.cdiv(width, n)) <= most)
        return min(next(fits, 64), 1024 // tall)

    narrow, wide = columns(2 * embed), columns(deter)
    of_embed = triton.cdiv(embed, narrow)
    own = columns(deter, of_embed)
    class_lanes = triton.next_power_of_2(classes)
    taken = max(1, columns(count * class_lanes) // class_lanes, 16 // class_lanes)
    of_deter = deter // block * triton.cdiv(block, wide)
    of_own = deter // block * triton.cdiv(block, own)
    tiles = max(2 * of_embed, of_embed + of_own, of_deter, triton.cdiv(count, taken))
    large = tall > 16 or wide > 32  # of which less fits at a time
    split = 8 if embed >= 128 and not large else 4

    def deep(width: int) -> int:
        # Short sums at once, so that all their operands are on their way together.
        short = width <= SHORT and not large
        return max(16 * split, lanes(width) if short else 64 if large else 128)

    chained = CHAIN and not LOOP and _can_chain(device)
    shared = {
        "PROGRAMS": (min(most, down * tiles) if LOOP else down * tiles) if parallel else 1,
        "CHAINED": chained,
        "ROWS": tall,
        "NARROW": narrow,
        "WIDE": wide,
        "OWN": own,
        "TAKEN": taken,
        "CLASS_LANES": class_lanes,
        "NARROW_LANES": lanes(of_embed),
        "WIDE_LANES": lanes(of_deter),
        "DEEP": deep(deter),
        "DEEP_EMBED": deep(embed),
        "DEEP_FLAT": deep(count * classes),
        "DEEP_BLOCK": deep(block),
        "SPLIT": split,
        "PRECISION": "ieee" if precision == "fp32" else precision,
        "num_stages": 4,
        "num_warps": split,
    }
    if LOOP and parallel:
        shared["launch_cooperative_grid"] = True
    if chained:
        shared["launch_pdl"] = True
    return shared


@cache
def _can_chain(device: th.device) -> bool:
    return device.type == "cuda" and th.cuda.get_device_capability(device) >= (9, 0)


def lanes(n: int) -> int:
    """Round up to a width that a product of tiles can have."""
    return max(16, triton.next_power_of_2(n))


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
def meet(arrived: tl.tensor, met: tl.tensor, PROGRAMS: tl.constexpr) -> tl.tensor:
    """
    Wait until all programs are here; then each sees what all have written.

    :param arrived: counts arrivals
    :param met: arrivals at the last meeting
    :param PROGRAMS: of the kernel, all running at the same time
    :return: arrivals at this one
    """
    tl.debug_barrier()
    tl.atomic_add(arrived, 1, sem="release", scope="gpu")
    while tl.atomic_add(arrived, 0, sem="acquire", scope="gpu") < met + PROGRAMS:
        pass
    tl.debug_barrier()
    return met + PROGRAMS


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
def places(at: tl.tensor, DEPTH: tl.constexpr, SPLIT: tl.constexpr) -> tl.tensor:
    """
    Return the places that one iteration of a product sums over, (SPLIT, DEPTH / SPLIT).

    Every warp adds up its own part: a product of few rows and columns is as slow as the longest
    chain of additions.
    """
    each: tl.constexpr = DEPTH // SPLIT
    return at + tl.arange(0, SPLIT)[:, None] * each + tl.arange(0, each)[None, :]


@triton.jit
def operand(
    x: tl.tensor, rows: tl.tensor, k: tl.tensor, stride: tl.tensor, count: tl.tensor, end: tl.tensor
) -> tl.tensor:
    """Read x[rows, k], zero outside of (count, end), (SPLIT, rows, k)."""
    inside = (rows[None, :, None] < count) & (k[:, None, :] < end)
    return tl.load(x + rows[None, :, None] * stride + k[:, None, :], mask=inside, other=0.0)


@triton.jit
def weight(
    x: tl.tensor,
    k: tl.tensor,
    j: tl.tensor,
    by_k: tl.tensor,
    by_j: tl.tensor,
    end_k: tl.tensor,
    end_j: tl.tensor,
) -> tl.tensor:
    """Read x[k, j], zero outside of (end_k, end_j), (SPLIT, k, j)."""
    inside = (k[:, :, None] < end_k) & (j[None, None, :] < end_j)
    return tl.load(x + k[:, :, None] * by_k + j[None, None, :] * by_j, mask=inside, other=0.0)


@triton.jit
def factor(x: tl.tensor, k: tl.tensor, end: tl.tensor) -> tl.tensor:
    """Read x[k], zero from ``end`` on, for every row of an operand, (SPLIT, 1, k)."""
    return tl.load(x + k, mask=k < end, other=0.0)[:, None, :]


@triton.jit
def dot(x: tl.tensor, w: tl.tensor, total: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Add the parts of a product to those of a total, (SPLIT, rows, columns)."""
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
    """Return 1 / root mean square of rows of WIDTH numbers, (rows,)."""
    mean = sum_tiles(sums, rows, count, TILES, LANES) / WIDTH
    return 1.0 / tl.sqrt(mean + _EPS)


@triton.jit
def silu(x: tl.tensor) -> tl.tensor:
    """Return x * sigmoid(x)."""
    return x * tl.sigmoid(x)
