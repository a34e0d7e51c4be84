"""A step of the filter, forward; :mod:`dreamzoo.nn.fast.triton.filter` says how they follow."""

import triton
import triton.language as tl

from dreamzoo.nn.fast.triton.filter_stages import (
    embed,
    gate,
    mix,
    multiply_own,
    project,
    sample,
)
from dreamzoo.nn.fast.triton.tiles import (
    follow,
    meet,
)


@triton.jit(do_not_specialize=["first", "last", "steps"])
def filter_forward(  # noqa: C901
    keep: tl.tensor,  # (T, B)
    evidence: tl.tensor,  # (T, B, M)
    draws: tl.tensor,  # (T, B, S)
    project_weights: tl.tensor,  # (2, M, D)
    deter_bias: tl.tensor,  # (M,)
    stoch_in: tl.tensor,  # (M, S * C)
    stoch_bias: tl.tensor,  # (M,)
    in_scale: tl.tensor,  # (2, M)
    own: tl.tensor,  # (g, d, d)
    shared: tl.tensor,  # (3 M, D)
    hidden_scale: tl.tensor,  # (D,)
    gates_weights: tl.tensor,  # (g, d, 3 d)
    gates_bias: tl.tensor,  # (g, 3 d)
    post_scale: tl.tensor,  # (M,)
    logits_weights: tl.tensor,  # (S * C, M)
    logits_bias: tl.tensor,  # (S * C,)
    pre: tl.tensor,  # written, (T, B, 2 M)
    total: tl.tensor,  # holds bias and the action's part; the rest is added, (T, B, D)
    gates: tl.tensor,  # written, (T, g, B, 3 d)
    deters: tl.tensor,  # the first is read, those of the steps are written, (T + 1, B, D)
    pre_post: tl.tensor,  # written, (T, B, M)
    probs: tl.tensor,  # written, (T, B, S, C)
    stochs: tl.tensor,  # the same, (T + 1, B, S, C)
    pre_sums: tl.tensor,  # used, (2, tiles of M, B)
    post_sums: tl.tensor,  # used, (tiles of M, B)
    total_sums: tl.tensor,  # used, (tiles of D, B)
    arrived: tl.tensor,  # zero, see meet()
    first: tl.tensor,  # step
    last: tl.tensor,  # behind the last step
    zero: tl.tensor,
    unimix: tl.tensor,
    steps: tl.tensor,
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    EMBED: tl.constexpr,
    LATENTS: tl.constexpr,
    CLASSES: tl.constexpr,
    DRAWN: tl.constexpr,
    PROGRAMS: tl.constexpr,
    ONLY: tl.constexpr,  # part of a step; -1 is all, one after the other
    CHAINED: tl.constexpr,
    ROWS: tl.constexpr,
    NARROW: tl.constexpr,  # columns of a tile of M
    WIDE: tl.constexpr,  # of D
    OWN: tl.constexpr,  # of D, in products of blocks with their own weights
    TAKEN: tl.constexpr,
    CLASS_LANES: tl.constexpr,
    NARROW_LANES: tl.constexpr,  # tiles of M, rounded up
    WIDE_LANES: tl.constexpr,
    DEEP: tl.constexpr,  # depth of products that sum over D
    DEEP_EMBED: tl.constexpr,
    DEEP_FLAT: tl.constexpr,
    DEEP_BLOCK: tl.constexpr,
    SPLIT: tl.constexpr,  # warps
    PRECISION: tl.constexpr,
) -> None:
    """Filter a sequence. All programs meet before any reads what others have written."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    FLAT: tl.constexpr = LATENTS * CLASSES
    OF_EMBED: tl.constexpr = (EMBED + NARROW - 1) // NARROW  # tiles
    OF_DETER: tl.constexpr = BLOCKS * ((WIDTH + WIDE - 1) // WIDE)
    OF_OWN: tl.constexpr = BLOCKS * ((WIDTH + OWN - 1) // OWN)
    OF_LATENTS: tl.constexpr = (LATENTS + TAKEN - 1) // TAKEN
    follow(CHAINED)
    deter_end, embed_end, flat_end, block_end = DETER, EMBED, FLAT, WIDTH
    if PROGRAMS > 1:
        # What is not known to be a single iteration has its operands fetched all at once.
        deter_end, embed_end = DETER + zero, EMBED + zero
        flat_end, block_end = FLAT + zero, WIDTH + zero
    program = tl.program_id(0)
    down = tl.cdiv(count, ROWS)
    lines = tl.arange(0, ROWS)
    if ONLY < 0:
        tile = program
        while tile < down * OF_EMBED:
            project(
                OF_EMBED + tile % OF_EMBED, tile // OF_EMBED * ROWS + lines,
                deters, keep, evidence, project_weights, deter_bias,
                pre_post, post_sums, pre, pre_sums,
                count, deter_end, DETER, EMBED, ROWS, NARROW, DEEP, SPLIT, PRECISION,
            )  # fmt: skip
            tile += PROGRAMS
    met = 0
    t = first
    while t < last:
        kept = keep + t * count
        pre_now = pre + t * count * 2 * EMBED
        total_now = total + t * count * DETER
        deter = deters + t * count * DETER
        stoch = stochs + t * count * FLAT
        post_now = pre_post + t * count * EMBED
        if (ONLY < 0) | (ONLY == 0):
            tile = program
            while tile < down * (OF_EMBED + OF_OWN):
                number = tile % (OF_EMBED + OF_OWN)
                rows = tile // (OF_EMBED + OF_OWN) * ROWS + lines
                if number < OF_EMBED:
                    embed(
                        number, rows, stoch, kept, stoch_in, stoch_bias, pre_now, pre_sums,
                        count, flat_end, FLAT, EMBED, ROWS, NARROW, DEEP_FLAT, SPLIT, PRECISION,
                    )  # fmt: skip
                else:
                    multiply_own(
                        number - OF_EMBED, rows, deter, kept, own, total_now,
                        count, block_end, BLOCKS, WIDTH, ROWS, OWN, DEEP_BLOCK, SPLIT, PRECISION,
                    )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 1):
            tile = program
            while tile < down * OF_DETER:
                mix(
                    tile % OF_DETER, tile // OF_DETER * ROWS + lines,
                    pre_now, pre_sums, in_scale, shared, total_now, total_sums,
                    count, embed_end, BLOCKS, WIDTH, EMBED, OF_EMBED, NARROW_LANES,
                    ROWS, WIDE, DEEP_EMBED, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 2):
            tile = program
            while tile < down * OF_DETER:
                gate(
                    tile % OF_DETER, tile // OF_DETER * ROWS + lines,
                    total_now, total_sums, hidden_scale, gates_weights, gates_bias, deter, kept,
                    gates + t * count * 3 * DETER, deter + count * DETER,
                    count, block_end, BLOCKS, WIDTH, OF_DETER, WIDE_LANES,
                    ROWS, WIDE, DEEP_BLOCK, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        # Before the first step, for the embedding only; after the last, for the posterior only.
        lowest = tl.where(t < 0, OF_EMBED, 0)
        number = tl.where(t + 1 < steps, 2 * OF_EMBED, OF_EMBED) - lowest
        if (ONLY < 0) | (ONLY == 3):
            tile = program
            while tile < down * number:
                project(
                    lowest + tile % number, tile // number * ROWS + lines,
                    deter + count * DETER, kept + count, evidence + t * count * EMBED,
                    project_weights, deter_bias,
                    post_now, post_sums, pre_now + count * 2 * EMBED, pre_sums,
                    count, deter_end, DETER, EMBED, ROWS, NARROW, DEEP, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 4):
            tile = program
            while tile < down * OF_LATENTS:
                sample(
                    tile % OF_LATENTS, tile // OF_LATENTS * ROWS + lines,
                    post_now, post_sums, post_scale, logits_weights, logits_bias,
                    draws + t * count * LATENTS, probs + t * count * FLAT, stoch + count * FLAT,
                    unimix,
                    count, embed_end, LATENTS, CLASSES, EMBED, OF_EMBED, NARROW_LANES, DRAWN,
                    ROWS, TAKEN, CLASS_LANES, DEEP_EMBED, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        t += 1
