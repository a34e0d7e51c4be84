"""A step back through the filter; :mod:`.filter_triton_backward` says how they follow."""

import triton
import triton.language as tl

from dreamzoo.nn.fast.triton.filter_stages_backward import (
    ungate,
    unhidden,
    unlogit,
    unmix,
    unmultiply_own,
    unsample,
)
from dreamzoo.nn.fast.triton.tiles import (
    follow,
    meet,
)


@triton.jit(do_not_specialize=["first", "last", "steps"])
def filter_backward(  # noqa: C901
    grad_deters: tl.tensor,  # (T, B, D)
    into_probs: tl.tensor,  # (T, B, S, C)
    before: tl.tensor,  # states before the steps, (T, B, D)
    project_weights: tl.tensor,  # (2, M, D)
    stoch_in: tl.tensor,  # (M, S * C)
    in_scale: tl.tensor,  # (2, M)
    own: tl.tensor,  # (g, d, d)
    shared: tl.tensor,  # (3 M, D)
    hidden_scale: tl.tensor,  # (D,)
    gates_weights: tl.tensor,  # (g, d, 3 d)
    gates_bias: tl.tensor,  # (g, 3 d)
    post_scale: tl.tensor,  # (M,)
    logits_weights: tl.tensor,  # (S * C, M)
    keep: tl.tensor,  # (T, B)
    pre: tl.tensor,  # (T, B, 2 M)
    inverse: tl.tensor,  # of its root mean squares, (T, B, 2)
    total: tl.tensor,  # (T, B, D)
    total_inverse: tl.tensor,  # (T, B)
    gates: tl.tensor,  # (T, g, B, 3 d)
    pre_post: tl.tensor,  # (T, B, M)
    post_inverse: tl.tensor,  # (T, B)
    probs: tl.tensor,  # (T, B, S, C)
    logits_grad: tl.tensor,  # written, (T, B, S * C)
    into_post: tl.tensor,  # written, (T, B, M)
    gates_grad: tl.tensor,  # written, (T, g, B, 3 d)
    into_hidden: tl.tensor,  # written, (T, B, D)
    into: tl.tensor,  # written, zero behind the last step, (T + 1, B, 2 M)
    rest: tl.tensor,  # zero; of the gradient of the state before the first step, (B, D)
    sums: tl.tensor,  # zero, (2, tiles of M, B)
    post_sums: tl.tensor,  # used, (tiles of M, B)
    hidden_sums: tl.tensor,  # used, (tiles of D, B)
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
    DEEP_GATES: tl.constexpr,
    SPLIT: tl.constexpr,  # warps
    PRECISION: tl.constexpr,
) -> None:
    """Go back through a sequence. All programs meet before any reads what others have written."""
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
    met = 0
    t = last - 1
    while t >= first:
        # Behind the last step, into is zero: what is multiplied with it does not matter.
        after = tl.minimum(t + 1, steps - 1)
        into_after = into + (t + 1) * count * 2 * EMBED
        pre_after = pre + after * count * 2 * EMBED
        inverse_after = inverse + after * count * 2
        if (ONLY < 0) | (ONLY == 0):
            tile = program
            while tile < down * OF_LATENTS:
                unsample(
                    tile % OF_LATENTS, tile // OF_LATENTS * ROWS + lines,
                    into_after, sums + OF_EMBED * count, pre_after, inverse_after, in_scale,
                    stoch_in, keep + after * count, probs + t * count * FLAT,
                    into_probs + t * count * FLAT, logits_grad + t * count * FLAT, unimix,
                    count, embed_end, LATENTS, CLASSES, EMBED, OF_EMBED, NARROW_LANES,
                    ROWS, TAKEN, CLASS_LANES, DEEP_EMBED, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        # The part by own weights comes from the step after; behind the last there is none.
        owns = tl.where(t + 1 < steps, OF_OWN, 0)
        if (ONLY < 0) | (ONLY == 1):
            tile = program
            while tile < down * (OF_EMBED + owns):
                number = tile % (OF_EMBED + owns)
                rows = tile // (OF_EMBED + owns) * ROWS + lines
                if number < OF_EMBED:
                    unlogit(
                        number, rows, logits_grad + t * count * FLAT, logits_weights,
                        pre_post + t * count * EMBED, post_inverse + t * count, post_scale,
                        into_post + t * count * EMBED, post_sums,
                        count, flat_end, FLAT, EMBED, ROWS, NARROW, DEEP_FLAT, SPLIT, PRECISION,
                    )  # fmt: skip
                else:
                    unmultiply_own(
                        number - OF_EMBED, rows, into_hidden + after * count * DETER, hidden_sums,
                        total + after * count * DETER, total_inverse + after * count, hidden_scale,
                        own, rest,
                        count, block_end, BLOCKS, WIDTH, OF_DETER, WIDE_LANES,
                        ROWS, OWN, DEEP_BLOCK, SPLIT, PRECISION,
                    )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 2):
            tile = program
            while tile < down * OF_DETER:
                ungate(
                    tile % OF_DETER, tile // OF_DETER * ROWS + lines,
                    into_post + t * count * EMBED, post_sums, pre_post + t * count * EMBED,
                    post_inverse + t * count, post_scale,
                    into_after, sums, pre_after, inverse_after, in_scale, project_weights,
                    keep + after * count, grad_deters + t * count * DETER,
                    gates + t * count * 3 * DETER, gates_bias, before + t * count * DETER, rest,
                    gates_grad + t * count * 3 * DETER,
                    count, embed_end, BLOCKS, WIDTH, EMBED, OF_EMBED, NARROW_LANES,
                    ROWS, WIDE, DEEP_EMBED, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 3):
            tile = program
            while tile < down * OF_DETER:
                unhidden(
                    tile % OF_DETER, tile // OF_DETER * ROWS + lines,
                    gates_grad + t * count * 3 * DETER, gates_weights, total + t * count * DETER,
                    total_inverse + t * count, hidden_scale, into_hidden + t * count * DETER,
                    hidden_sums,
                    count, 3 * block_end, BLOCKS, WIDTH, ROWS, WIDE, DEEP_GATES, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        if (ONLY < 0) | (ONLY == 4):
            tile = program
            while tile < down * 2 * OF_EMBED:
                unmix(
                    tile % (2 * OF_EMBED), tile // (2 * OF_EMBED) * ROWS + lines,
                    into_hidden + t * count * DETER, hidden_sums, total + t * count * DETER,
                    total_inverse + t * count, hidden_scale, shared, pre + t * count * 2 * EMBED,
                    inverse + t * count * 2, in_scale, into + t * count * 2 * EMBED, sums,
                    count, deter_end, DETER, EMBED, OF_DETER, WIDE_LANES,
                    ROWS, NARROW, DEEP, SPLIT, PRECISION,
                )  # fmt: skip
                tile += PROGRAMS
        if ONLY < 0:
            met = meet(arrived, met, PROGRAMS)
        t -= 1
