"""Stages of the filter, one after the other, each over some tiles; see :mod:`filter_kernels`."""

import triton
import triton.language as tl

from dreamzoo.nn.fast.triton.tiles import (
    dot,
    factor,
    inverse_rms,
    load,
    operand,
    places,
    silu,
    store,
    vector,
    weight,
)


@triton.jit
def project(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    deter: tl.tensor,  # (B, D)
    keep: tl.tensor,  # of the next step, (B,)
    evidence: tl.tensor,  # (B, M)
    weights: tl.tensor,  # of posterior and embedding, (2, M, D)
    bias: tl.tensor,  # of the embedding, (M,)
    pre_post: tl.tensor,  # written, (B, M)
    post_sums: tl.tensor,  # written, (tiles, B)
    pre: tl.tensor,  # of the next step; the first half is written, (B, 2 M)
    pre_sums: tl.tensor,  # the same, (2, tiles, B)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    DETER: tl.constexpr,
    EMBED: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Multiply the state: posterior's hidden layer and next step's embedding."""
    TILES: tl.constexpr = (EMBED + COLS - 1) // COLS
    part, place = number // TILES, number % TILES
    cols = place * COLS + tl.arange(0, COLS)
    weights += part * EMBED * DETER
    if part == 0:
        rest = load(evidence, rows, cols, EMBED, 1, count, EMBED)
        kept = tl.full((ROWS,), 1.0, tl.float32)
    else:
        rest = tl.zeros((ROWS, COLS), tl.float32) + vector(bias, cols, EMBED)[None, :]
        kept = vector(keep, rows, count)
    total = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if DETER <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(deter, rows, k, DETER, count, DETER)
        w = weight(weights, k, cols, 1, DETER, DETER, EMBED)
        total = dot(x, w, total, PRECISION)
    total = tl.sum(total, 0) * kept[:, None] + rest
    if part == 0:
        store(pre_post, rows, cols, EMBED, count, EMBED, total)
        sums = post_sums
    else:
        store(pre, rows, cols, 2 * EMBED, count, EMBED, total)
        sums = pre_sums
    tl.store(sums + place * count + rows, tl.sum(total * total, 1), mask=rows < count)


@triton.jit
def embed(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    stoch: tl.tensor,  # state before the step, (B, S * C)
    keep: tl.tensor,  # (B,)
    weights: tl.tensor,  # (M, S * C)
    bias: tl.tensor,  # (M,)
    pre: tl.tensor,  # the second half is written, (B, 2 M)
    pre_sums: tl.tensor,  # the same, (2, tiles, B)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    FLAT: tl.constexpr,
    EMBED: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Embed the stochastic state."""
    TILES: tl.constexpr = (EMBED + COLS - 1) // COLS
    cols = number * COLS + tl.arange(0, COLS)
    kept = vector(keep, rows, count)[:, None]
    rest = vector(bias, cols, EMBED)[None, :]
    total = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if FLAT <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(stoch, rows, k, FLAT, count, FLAT)
        total = dot(x, weight(weights, k, cols, 1, FLAT, FLAT, EMBED), total, PRECISION)
    total = tl.sum(total, 0) * kept + rest
    store(pre + EMBED, rows, cols, 2 * EMBED, count, EMBED, total)
    sums = pre_sums + (TILES + number) * count + rows
    tl.store(sums, tl.sum(total * total, 1), mask=rows < count)


@triton.jit
def multiply_own(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    deter: tl.tensor,  # state before the step, (B, D)
    keep: tl.tensor,  # (B,)
    weights: tl.tensor,  # (g, d, d)
    total: tl.tensor,  # added to, (B, D)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Multiply every block of the state by its own weights."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    at_block = number // PARTS * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    weights += at_block * WIDTH
    kept = vector(keep, rows, count)[:, None]
    rest = load(total + at_block, rows, cols, DETER, 1, count, WIDTH)
    result = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if WIDTH <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(deter + at_block, rows, k, DETER, count, WIDTH)
        result = dot(x, weight(weights, k, cols, WIDTH, 1, WIDTH, WIDTH), result, PRECISION)
    store(total + at_block, rows, cols, DETER, count, WIDTH, tl.sum(result, 0) * kept + rest)


@triton.jit
def mix(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    pre: tl.tensor,  # (B, 2 M)
    pre_sums: tl.tensor,  # (2, tiles, B)
    scale: tl.tensor,  # (2, M)
    shared: tl.tensor,  # (>= 2 M, D)
    total: tl.tensor,  # added to, (B, D)
    total_sums: tl.tensor,  # written, (tiles of D, B)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Normalize both embeddings and multiply them."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    at_block = number // PARTS * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    shared += at_block
    if EMBED > DEPTH:
        first = inverse_rms(pre_sums, rows, count, EMBED, TILES, LANES)
        second = inverse_rms(pre_sums + TILES * count, rows, count, EMBED, TILES, LANES)
    rest = load(total + at_block, rows, cols, DETER, 1, count, WIDTH)
    result = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if EMBED <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(pre, rows, k, 2 * EMBED, count, EMBED)
        y = operand(pre + EMBED, rows, k, 2 * EMBED, count, EMBED)
        x_scale, y_scale = factor(scale, k, EMBED), factor(scale + EMBED, k, EMBED)
        v = weight(shared, k, cols, DETER, 1, EMBED, WIDTH)
        w = weight(shared + EMBED * DETER, k, cols, DETER, 1, EMBED, WIDTH)
        if EMBED <= DEPTH:  # after all that can be on its way at the same time
            first = inverse_rms(pre_sums + tl.minimum(at, 0), rows, count, EMBED, TILES, LANES)
            second = inverse_rms(
                pre_sums + TILES * count + tl.minimum(at, 0), rows, count, EMBED, TILES, LANES
            )
        result = dot(silu(x * first[None, :, None] * x_scale), v, result, PRECISION)
        result = dot(silu(y * second[None, :, None] * y_scale), w, result, PRECISION)
    result = tl.sum(result, 0) + rest
    store(total + at_block, rows, cols, DETER, count, WIDTH, result)
    sums = total_sums + number * count + rows
    # Columns beyond the block are zero: so are weights there, and what was loaded.
    tl.store(sums, tl.sum(result * result, 1), mask=rows < count)


@triton.jit
def gate(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    total: tl.tensor,  # (B, D)
    total_sums: tl.tensor,  # (tiles of D, B)
    scale: tl.tensor,  # (D,)
    weights: tl.tensor,  # (g, d, 3 d)
    bias: tl.tensor,  # (g, 3 d)
    deter: tl.tensor,  # state before the step, (B, D)
    keep: tl.tensor,  # (B,)
    gates: tl.tensor,  # before bias and activation, written, (g, B, 3 d)
    out: tl.tensor,  # state after the step, written, (B, D)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Normalize the sum, multiply by the three gates' weights, advance the state."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    block = number // PARTS
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    at_block = block * WIDTH
    weights += at_block * 3 * WIDTH
    gates += block * count * 3 * WIDTH
    bias += 3 * at_block
    reset_bias = vector(bias, cols, WIDTH)[None, :]
    candidate_bias = vector(bias + WIDTH, cols, WIDTH)[None, :]
    update_bias = vector(bias + 2 * WIDTH, cols, WIDTH)[None, :]
    before = load(deter + at_block, rows, cols, DETER, 1, count, WIDTH)
    before *= vector(keep, rows, count)[:, None]
    if WIDTH > DEPTH:
        inverse = inverse_rms(total_sums, rows, count, DETER, TILES, LANES)
    reset = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    candidate = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    update = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if WIDTH <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(total + at_block, rows, k, DETER, count, WIDTH)
        scales = factor(scale + at_block, k, WIDTH)
        u = weight(weights, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        v = weight(weights + WIDTH, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        w = weight(weights + 2 * WIDTH, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        if WIDTH <= DEPTH:
            inverse = inverse_rms(total_sums + tl.minimum(at, 0), rows, count, DETER, TILES, LANES)
        x = silu(x * inverse[None, :, None] * scales)
        reset = dot(x, u, reset, PRECISION)
        candidate = dot(x, v, candidate, PRECISION)
        update = dot(x, w, update, PRECISION)
    reset, candidate, update = tl.sum(reset, 0), tl.sum(candidate, 0), tl.sum(update, 0)
    store(gates, rows, cols, 3 * WIDTH, count, WIDTH, reset)
    store(gates + WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, candidate)
    store(gates + 2 * WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, update)
    reset = tl.sigmoid(reset + reset_bias)
    candidate = 2.0 * tl.sigmoid(2.0 * reset * (candidate + candidate_bias)) - 1.0
    update = tl.sigmoid(update + update_bias)
    after = before + update * (candidate - before)
    store(out + at_block, rows, cols, DETER, count, WIDTH, after)


@triton.jit
def sample(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    pre: tl.tensor,  # (B, M)
    pre_sums: tl.tensor,  # (tiles, B)
    scale: tl.tensor,  # (M,)
    weights: tl.tensor,  # (S * C, M)
    bias: tl.tensor,  # (S * C,)
    draws: tl.tensor,  # (B, S)
    probs: tl.tensor,  # written, (B, S, C)
    stoch: tl.tensor,  # written, (B, S, C)
    unimix: tl.tensor,
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    LATENTS: tl.constexpr,
    CLASSES: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    DRAWN: tl.constexpr,
    ROWS: tl.constexpr,
    TAKEN: tl.constexpr,  # latents of a program
    CLASS_LANES: tl.constexpr,  # classes, rounded up
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Compute the posterior from its hidden layer and draw from it."""
    lanes = tl.arange(0, TAKEN * CLASS_LANES)
    latent = number * TAKEN + lanes // CLASS_LANES
    # Lanes beyond the classes point behind the last of all.
    inside = (lanes % CLASS_LANES < CLASSES) & (latent < LATENTS)
    cols = tl.where(inside, latent * CLASSES + lanes % CLASS_LANES, LATENTS * CLASSES)
    FLAT: tl.constexpr = LATENTS * CLASSES
    if EMBED > DEPTH:
        inverse = inverse_rms(pre_sums, rows, count, EMBED, TILES, LANES)
    logits = tl.zeros((SPLIT, ROWS, TAKEN * CLASS_LANES), tl.float32)
    rest = vector(bias, cols, FLAT)[None, :]
    if DRAWN:
        taken = number * TAKEN + tl.arange(0, TAKEN)
        draw = load(draws, rows, taken, LATENTS, 1, count, LATENTS)[:, :, None]
    STAGES: tl.constexpr = 2 if EMBED <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(pre, rows, k, EMBED, count, EMBED)
        scales = factor(scale, k, EMBED)
        w = weight(weights, k, cols, 1, EMBED, EMBED, FLAT)
        if EMBED <= DEPTH:
            inverse = inverse_rms(pre_sums + tl.minimum(at, 0), rows, count, EMBED, TILES, LANES)
        logits = dot(silu(x * inverse[None, :, None] * scales), w, logits, PRECISION)
    logits = tl.reshape(tl.sum(logits, 0) + rest, (ROWS, TAKEN, CLASS_LANES))
    of = tl.arange(0, CLASS_LANES)[None, None, :]
    logits = tl.where(of < CLASSES, logits, float("-inf"))
    weighted = tl.exp(logits - tl.max(logits, axis=2, keep_dims=True))
    softmax = weighted / tl.sum(weighted, axis=2, keep_dims=True)
    mixed = tl.where(of < CLASSES, (1.0 - unimix) * softmax + unimix / CLASSES, 0.0)
    if DRAWN:
        # The sum of all may round to slightly below one: the last class takes what is left.
        beyond = (tl.cumsum(mixed, axis=2) > draw) | (of >= CLASSES - 1)
        chosen = tl.sum(tl.where(beyond, 0, 1), axis=2)
    else:
        chosen = tl.argmax(mixed, axis=2)
    drawn = tl.where(of == chosen[:, :, None], 1.0, 0.0)
    store(probs, rows, cols, FLAT, count, FLAT, tl.reshape(mixed, (ROWS, TAKEN * CLASS_LANES)))
    store(stoch, rows, cols, FLAT, count, FLAT, tl.reshape(drawn, (ROWS, TAKEN * CLASS_LANES)))
