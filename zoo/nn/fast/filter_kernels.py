"""
A step of the filter, forward. :mod:`dreamzoo.nn.fast.filter_triton` says how they follow.
"""

import triton
import triton.language as tl

from dreamzoo.nn.fast.tiles import dot, follow, inverse_rms, load, silu, store, vector


@triton.jit
def project(
    deter: tl.tensor,  # (B, D)
    keep: tl.tensor,  # of the next step, (B,)
    evidence: tl.tensor,  # (B, M)
    weights: tl.tensor,  # of posterior and embedding, (2, M, D)
    bias: tl.tensor,  # of the embedding, (M,)
    own: tl.tensor,  # (g, d, d)
    pre_post: tl.tensor,  # written, (B, M)
    post_sums: tl.tensor,  # written, (tiles, B)
    pre: tl.tensor,  # of the next step; the first half is written, (B, 2 M)
    pre_sums: tl.tensor,  # the same, (2, tiles, B)
    from_own: tl.tensor,  # of the next step, written, (B, D)
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    EMBED: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    OWN_COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Multiply the state: posterior's hidden layer, next step's embedding and own part."""
    follow(CHAINED)
    DETER: tl.constexpr = BLOCKS * WIDTH
    TILES: tl.constexpr = (EMBED + COLS - 1) // COLS
    OWN_TILES: tl.constexpr = (WIDTH + OWN_COLS - 1) // OWN_COLS
    program = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    kept = vector(keep, rows, count)
    if program < 2 * TILES:
        part, number = program // TILES, program % TILES
        cols = number * COLS + tl.arange(0, COLS)
        weights += part * EMBED * DETER
        total = tl.zeros((ROWS, COLS), tl.float32)
        for at in tl.range(0, DETER, DEPTH):
            k = at + tl.arange(0, DEPTH)
            x = load(deter, rows, k, DETER, 1, count, DETER)
            w = load(weights, k, cols, 1, DETER, DETER, EMBED)
            total = dot(x, w, total, PRECISION)
        if part == 0:
            total += load(evidence, rows, cols, EMBED, 1, count, EMBED)
            store(pre_post, rows, cols, EMBED, count, EMBED, total)
            sums = post_sums
        else:
            total = total * kept[:, None] + vector(bias, cols, EMBED)[None, :]
            store(pre, rows, cols, 2 * EMBED, count, EMBED, total)
            sums = pre_sums
        tl.store(sums + number * count + rows, tl.sum(total * total, 1), mask=rows < count)
    else:
        block, number = (program - 2 * TILES) // OWN_TILES, (program - 2 * TILES) % OWN_TILES
        own_cols = number * OWN_COLS + tl.arange(0, OWN_COLS)
        mine = tl.zeros((ROWS, OWN_COLS), tl.float32)
        for at in tl.range(0, WIDTH, DEPTH):
            k = at + tl.arange(0, DEPTH)
            x = load(deter + block * WIDTH, rows, k, DETER, 1, count, WIDTH)
            w = load(own + block * WIDTH * WIDTH, k, own_cols, WIDTH, 1, WIDTH, WIDTH)
            mine = dot(x, w, mine, PRECISION)
        mine *= kept[:, None]
        store(from_own + block * WIDTH, rows, own_cols, DETER, count, WIDTH, mine)


@triton.jit
def embed(
    stoch: tl.tensor,  # state before the step, (B, S * C)
    keep: tl.tensor,  # (B,)
    weights: tl.tensor,  # (M, S * C)
    bias: tl.tensor,  # (M,)
    pre: tl.tensor,  # the second half is written, (B, 2 M)
    pre_sums: tl.tensor,  # the same, (2, tiles, B)
    count: tl.tensor,
    FLAT: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Embed the stochastic state."""
    follow(CHAINED)
    number = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    cols = number * COLS + tl.arange(0, COLS)
    total = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, FLAT, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(stoch, rows, k, FLAT, 1, count, FLAT)
        total = dot(x, load(weights, k, cols, 1, FLAT, FLAT, EMBED), total, PRECISION)
    total = total * vector(keep, rows, count)[:, None] + vector(bias, cols, EMBED)[None, :]
    store(pre + EMBED, rows, cols, 2 * EMBED, count, EMBED, total)
    sums = pre_sums + (TILES + number) * count + rows
    tl.store(sums, tl.sum(total * total, 1), mask=rows < count)


@triton.jit
def mix(
    pre: tl.tensor,  # (B, 2 M)
    pre_sums: tl.tensor,  # (2, tiles, B)
    action: tl.tensor,  # embedded, (B, M)
    from_own: tl.tensor,  # (B, D)
    scale: tl.tensor,  # (2, M)
    shared: tl.tensor,  # (3 M, D)
    bias: tl.tensor,  # (D,)
    total: tl.tensor,  # written, (B, D)
    total_sums: tl.tensor,  # written, (tiles of D, B)
    count: tl.tensor,
    DETER: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Normalize both embeddings and multiply them and the action's."""
    follow(CHAINED)
    number = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    cols = number * COLS + tl.arange(0, COLS)
    first = inverse_rms(pre_sums, rows, count, EMBED, TILES, LANES)
    second = inverse_rms(pre_sums + TILES * count, rows, count, EMBED, TILES, LANES)
    result = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, EMBED, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(pre, rows, k, 2 * EMBED, 1, count, EMBED)
        x = silu(x * first * vector(scale, k, EMBED)[None, :])
        y = load(pre + EMBED, rows, k, 2 * EMBED, 1, count, EMBED)
        y = silu(y * second * vector(scale + EMBED, k, EMBED)[None, :])
        z = load(action, rows, k, EMBED, 1, count, EMBED)
        w = load(shared, k, cols, DETER, 1, EMBED, DETER)
        result = dot(x, w, result, PRECISION)
        w = load(shared + EMBED * DETER, k, cols, DETER, 1, EMBED, DETER)
        result = dot(y, w, result, PRECISION)
        w = load(shared + 2 * EMBED * DETER, k, cols, DETER, 1, EMBED, DETER)
        result = dot(z, w, result, PRECISION)
    result += vector(bias, cols, DETER)[None, :]
    result += load(from_own, rows, cols, DETER, 1, count, DETER)
    store(total, rows, cols, DETER, count, DETER, result)
    sums = total_sums + number * count + rows
    tl.store(sums, tl.sum(result * result, 1), mask=rows < count)


@triton.jit
def gate(
    total: tl.tensor,  # (B, D)
    total_sums: tl.tensor,  # (tiles, B)
    scale: tl.tensor,  # (D,)
    weights: tl.tensor,  # (g, d, 3 d)
    bias: tl.tensor,  # (g, 3 d)
    deter: tl.tensor,  # state before the step, (B, D)
    keep: tl.tensor,  # (B,)
    gates: tl.tensor,  # before bias and activation, written, (g, B, 3 d)
    out: tl.tensor,  # state after the step, written, (B, D)
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Normalize the sum, multiply by the three gates' weights, advance the state."""
    follow(CHAINED)
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    block = tl.program_id(0) // PARTS
    cols = tl.program_id(0) % PARTS * COLS + tl.arange(0, COLS)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    at_block = block * WIDTH
    weights += at_block * 3 * WIDTH
    gates += block * count * 3 * WIDTH
    inverse = inverse_rms(total_sums, rows, count, DETER, TILES, LANES)
    reset = tl.zeros((ROWS, COLS), tl.float32)
    candidate = tl.zeros((ROWS, COLS), tl.float32)
    update = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, WIDTH, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(total + at_block, rows, k, DETER, 1, count, WIDTH)
        x = silu(x * inverse * vector(scale + at_block, k, WIDTH)[None, :])
        w = load(weights, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        reset = dot(x, w, reset, PRECISION)
        w = load(weights + WIDTH, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        candidate = dot(x, w, candidate, PRECISION)
        w = load(weights + 2 * WIDTH, k, cols, 3 * WIDTH, 1, WIDTH, WIDTH)
        update = dot(x, w, update, PRECISION)
    store(gates, rows, cols, 3 * WIDTH, count, WIDTH, reset)
    store(gates + WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, candidate)
    store(gates + 2 * WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, update)
    before = load(deter + at_block, rows, cols, DETER, 1, count, WIDTH)
    before *= vector(keep, rows, count)[:, None]
    bias += 3 * at_block
    reset = tl.sigmoid(reset + vector(bias, cols, WIDTH)[None, :])
    candidate = reset * (candidate + vector(bias + WIDTH, cols, WIDTH)[None, :])
    candidate = 2.0 * tl.sigmoid(2.0 * candidate) - 1.0
    update = tl.sigmoid(update + vector(bias + 2 * WIDTH, cols, WIDTH)[None, :])
    after = before + update * (candidate - before)
    store(out + at_block, rows, cols, DETER, count, WIDTH, after)


@triton.jit
def sample(
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
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Compute the posterior from its hidden layer and draw from it."""
    follow(CHAINED)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    lanes = tl.arange(0, TAKEN * CLASS_LANES)
    latent = tl.program_id(0) * TAKEN + lanes // CLASS_LANES
    # Lanes beyond the classes point behind the last of all.
    inside = (lanes % CLASS_LANES < CLASSES) & (latent < LATENTS)
    cols = tl.where(inside, latent * CLASSES + lanes % CLASS_LANES, LATENTS * CLASSES)
    FLAT: tl.constexpr = LATENTS * CLASSES
    inverse = inverse_rms(pre_sums, rows, count, EMBED, TILES, LANES)
    logits = tl.zeros((ROWS, TAKEN * CLASS_LANES), tl.float32)
    for at in tl.range(0, EMBED, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(pre, rows, k, EMBED, 1, count, EMBED)
        x = silu(x * inverse * vector(scale, k, EMBED)[None, :])
        logits = dot(x, load(weights, k, cols, 1, EMBED, EMBED, FLAT), logits, PRECISION)
    logits += vector(bias, cols, FLAT)[None, :]
    shape: tl.constexpr = (ROWS, TAKEN, CLASS_LANES)
    number = tl.arange(0, CLASS_LANES)[None, None, :]
    logits = tl.where(number < CLASSES, tl.reshape(logits, shape), float("-inf"))
    weighted = tl.exp(logits - tl.max(logits, axis=2, keep_dims=True))
    softmax = weighted / tl.sum(weighted, axis=2, keep_dims=True)
    mixed = tl.where(number < CLASSES, (1.0 - unimix) * softmax + unimix / CLASSES, 0.0)
    if DRAWN:
        of = tl.program_id(0) * TAKEN + tl.arange(0, TAKEN)
        draw = load(draws, rows, of, LATENTS, 1, count, LATENTS)
        # The sum of all may round to slightly below one: the last class takes what is left.
        beyond = (tl.cumsum(mixed, axis=2) > draw[:, :, None]) | (number >= CLASSES - 1)
        chosen = tl.sum(tl.where(beyond, 0, 1), axis=2)
    else:
        chosen = tl.argmax(mixed, axis=2)
    sample = tl.where(number == chosen[:, :, None], 1.0, 0.0)
    flat: tl.constexpr = (ROWS, TAKEN * CLASS_LANES)
    store(probs, rows, cols, FLAT, count, FLAT, tl.reshape(mixed, flat))
    store(stoch, rows, cols, FLAT, count, FLAT, tl.reshape(sample, flat))
