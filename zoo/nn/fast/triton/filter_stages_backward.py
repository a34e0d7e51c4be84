"""Stages of the filter's way back, each over some tiles; see :mod:`filter_kernels_backward`."""

import triton
import triton.language as tl

from dreamzoo.nn.fast.triton.tiles import (
    dot,
    factor,
    load,
    operand,
    places,
    store,
    sum_tiles,
    vector,
    weight,
)


@triton.jit
def through_silu(grad: tl.tensor, normed: tl.tensor) -> tl.tensor:
    """Gradient of silu(normed) towards normed."""
    share = tl.sigmoid(normed)
    return grad * share * (1.0 + normed * (1.0 - share))


@triton.jit
def through_norm(
    x: tl.tensor, inverse: tl.tensor, scale: tl.tensor, grad: tl.tensor, along: tl.tensor
) -> tl.tensor:
    """
    Gradient of silu(norm(x)) towards x.

    :param inverse: of the root mean square of x's rows
    :param along: mean over a row of the norm's result times its gradient
    """
    unit = x * inverse
    into = through_silu(grad, unit * scale)
    return (into * scale - unit * along) * inverse


@triton.jit
def store_along(
    sums: tl.tensor,
    rows: tl.tensor,
    count: tl.tensor,
    x: tl.tensor,
    inverse: tl.tensor,
    scale: tl.tensor,
    grad: tl.tensor,
) -> None:
    """Leave a tile's part of ``along`` behind, see :func:`through_norm`, times the columns."""
    normed = x * inverse * scale
    part = tl.sum(through_silu(grad, normed) * normed, axis=1)
    tl.store(sums + rows, part, mask=rows < count)


@triton.jit
def unsample(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    into: tl.tensor,  # of the next step's embeddings, (B, 2 M)
    sums: tl.tensor,  # along of the second, (tiles, B)
    pre: tl.tensor,  # of the next step, (B, 2 M)
    inverse: tl.tensor,  # the same, (B, 2)
    scale: tl.tensor,  # (2, M)
    weights: tl.tensor,  # (M, S * C)
    keep: tl.tensor,  # of the next step, (B,)
    probs: tl.tensor,  # of this one, (B, S, C)
    into_probs: tl.tensor,  # the same
    out: tl.tensor,  # gradient of the logits, written, (B, S * C)
    unimix: tl.tensor,
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    LATENTS: tl.constexpr,
    CLASSES: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    TAKEN: tl.constexpr,  # latents of a program
    CLASS_LANES: tl.constexpr,  # classes, rounded up
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradient of the sample, added to that of its probabilities, towards the logits."""
    lanes = tl.arange(0, TAKEN * CLASS_LANES)
    latent = number * TAKEN + lanes // CLASS_LANES
    inside = (lanes % CLASS_LANES < CLASSES) & (latent < LATENTS)
    FLAT: tl.constexpr = LATENTS * CLASSES
    cols = tl.where(inside, latent * CLASSES + lanes % CLASS_LANES, FLAT)
    if EMBED > DEPTH:
        along = sum_tiles(sums, rows, count, TILES, LANES) / EMBED
    inverse = vector(inverse + 1, 2 * rows, 2 * count)[None, :, None]
    kept = vector(keep, rows, count)[:, None]
    rest = load(into_probs, rows, cols, FLAT, 1, count, FLAT)
    share = load(probs, rows, cols, FLAT, 1, count, FLAT) - unimix / CLASSES
    share = tl.where(inside[None, :], share, 0.0)
    total = tl.zeros((SPLIT, ROWS, TAKEN * CLASS_LANES), tl.float32)
    STAGES: tl.constexpr = 2 if EMBED <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(pre + EMBED, rows, k, 2 * EMBED, count, EMBED)
        grad = operand(into + EMBED, rows, k, 2 * EMBED, count, EMBED)
        scales = factor(scale + EMBED, k, EMBED)
        w = weight(weights, k, cols, FLAT, 1, EMBED, FLAT)
        if EMBED <= DEPTH:  # after all that can be on its way at the same time
            along = sum_tiles(sums + tl.minimum(at, 0), rows, count, TILES, LANES) / EMBED
        grad = through_norm(x, inverse, scales, grad, along[None, :, None])
        total = dot(grad, w, total, PRECISION)
    weighted = tl.reshape((tl.sum(total, 0) * kept + rest) * share, (ROWS, TAKEN, CLASS_LANES))
    share = tl.reshape(share, (ROWS, TAKEN, CLASS_LANES))
    result = weighted - share * (tl.sum(weighted, axis=2, keep_dims=True) / (1.0 - unimix))
    result = tl.reshape(result, (ROWS, TAKEN * CLASS_LANES))
    store(out, rows, cols, FLAT, count, FLAT, result)


@triton.jit
def unlogit(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    logits_grad: tl.tensor,  # (B, S * C)
    weights: tl.tensor,  # (S * C, M)
    pre: tl.tensor,  # (B, M)
    inverse: tl.tensor,  # (B,)
    scale: tl.tensor,  # (M,)
    into: tl.tensor,  # written, (B, M)
    sums: tl.tensor,  # along, written, (tiles, B)
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
    """Gradient of the posterior's hidden layer."""
    cols = number * COLS + tl.arange(0, COLS)
    x = load(pre, rows, cols, EMBED, 1, count, EMBED)
    scales = vector(scale, cols, EMBED)[None, :]
    inverse = vector(inverse, rows, count)[:, None]
    total = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if FLAT <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        grad = operand(logits_grad, rows, k, FLAT, count, FLAT)
        w = weight(weights, k, cols, EMBED, 1, FLAT, EMBED)
        total = dot(grad, w, total, PRECISION)
    total = tl.sum(total, 0)
    store(into, rows, cols, EMBED, count, EMBED, total)
    store_along(sums + number * count, rows, count, x, inverse, scales, total)


@triton.jit
def ungate(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    into_post: tl.tensor,  # of this step, (B, M)
    post_sums: tl.tensor,  # along, (tiles, B)
    pre_post: tl.tensor,  # (B, M)
    post_inverse: tl.tensor,  # (B,)
    post_scale: tl.tensor,  # (M,)
    into: tl.tensor,  # of the next step's embeddings, (B, 2 M)
    sums: tl.tensor,  # along of the first, (tiles, B)
    pre: tl.tensor,  # of the next step, (B, 2 M)
    inverse: tl.tensor,  # the same, (B, 2)
    scale: tl.tensor,  # (2, M)
    weights: tl.tensor,  # of posterior and embedding, (2, M, D)
    next_keep: tl.tensor,  # (B,)
    grad_deter: tl.tensor,  # from outside, (B, D)
    gates: tl.tensor,  # (g, B, 3 d)
    bias: tl.tensor,  # (g, 3 d)
    before: tl.tensor,  # state before the step, (B, D)
    rest: tl.tensor,  # of the gradient of the state after, from the next step; becomes that before
    gates_grad: tl.tensor,  # written, (g, B, 3 d)
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
    """Sum up the gradient of the state after the step, go back through the gates."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    block = number // PARTS
    at_block = block * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    if EMBED > DEPTH:
        post_along = sum_tiles(post_sums, rows, count, TILES, LANES) / EMBED
        along = sum_tiles(sums, rows, count, TILES, LANES) / EMBED
    post_inverse = vector(post_inverse, rows, count)[None, :, None]
    inverse = vector(inverse, 2 * rows, 2 * count)[None, :, None]
    kept = vector(next_keep, rows, count)
    weights += at_block
    gates += at_block * count * 3
    gates_grad += at_block * count * 3
    bias += 3 * at_block
    reset = load(gates, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    reset = tl.sigmoid(reset + vector(bias, cols, WIDTH)[None, :])
    raw = load(gates + WIDTH, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    raw += vector(bias + WIDTH, cols, WIDTH)[None, :]
    update = load(gates + 2 * WIDTH, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    update = tl.sigmoid(update + vector(bias + 2 * WIDTH, cols, WIDTH)[None, :])
    before = load(before + at_block, rows, cols, DETER, 1, count, WIDTH)
    come = load(rest + at_block, rows, cols, DETER, 1, count, WIDTH) * kept[:, None]
    come += load(grad_deter + at_block, rows, cols, DETER, 1, count, WIDTH)
    after = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if EMBED <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(pre_post, rows, k, EMBED, count, EMBED)
        x_grad = operand(into_post, rows, k, EMBED, count, EMBED)
        x_scale = factor(post_scale, k, EMBED)
        v = weight(weights, k, cols, DETER, 1, EMBED, WIDTH)
        y = operand(pre, rows, k, 2 * EMBED, count, EMBED)
        y_grad = operand(into, rows, k, 2 * EMBED, count, EMBED)
        y_scale = factor(scale, k, EMBED)
        w = weight(weights + EMBED * DETER, k, cols, DETER, 1, EMBED, WIDTH)
        if EMBED <= DEPTH:
            post_along = sum_tiles(post_sums + tl.minimum(at, 0), rows, count, TILES, LANES) / EMBED
            along = sum_tiles(sums + tl.minimum(at, 0), rows, count, TILES, LANES) / EMBED
        x_grad = through_norm(x, post_inverse, x_scale, x_grad, post_along[None, :, None])
        after = dot(x_grad, v, after, PRECISION)
        y_grad = through_norm(y, inverse, y_scale, y_grad, along[None, :, None])
        after = dot(y_grad * kept[None, :, None], w, after, PRECISION)
    after = tl.sum(after, 0) + come
    candidate = 2.0 * tl.sigmoid(2.0 * reset * raw) - 1.0
    taken = after * update
    grad = taken * (1.0 - candidate * candidate)
    change = after * (candidate - before) * update * (1.0 - update)
    to_reset = grad * raw * reset * (1.0 - reset)
    store(gates_grad, rows, cols, 3 * WIDTH, count, WIDTH, to_reset)
    store(gates_grad + WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, grad * reset)
    store(gates_grad + 2 * WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, change)
    store(rest + at_block, rows, cols, DETER, count, WIDTH, after - taken)


@triton.jit
def unhidden(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    gates_grad: tl.tensor,  # (g, B, 3 d)
    weights: tl.tensor,  # (g, d, 3 d)
    total: tl.tensor,  # (B, D)
    inverse: tl.tensor,  # (B,)
    scale: tl.tensor,  # (D,)
    into: tl.tensor,  # written, (B, D)
    sums: tl.tensor,  # along, written, (tiles, B)
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
    """Gradient of the hidden layer of the core."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    block = number // PARTS
    at_block = block * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    gates_grad += at_block * count * 3
    weights += at_block * 3 * WIDTH
    x = load(total + at_block, rows, cols, DETER, 1, count, WIDTH)
    scales = vector(scale + at_block, cols, WIDTH)[None, :]
    inverse = vector(inverse, rows, count)[:, None]
    result = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if 3 * WIDTH <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        grad = operand(gates_grad, rows, k, 3 * WIDTH, count, 3 * WIDTH)
        w = weight(weights, k, cols, 1, 3 * WIDTH, 3 * WIDTH, WIDTH)
        result = dot(grad, w, result, PRECISION)
    result = tl.sum(result, 0)
    store(into + at_block, rows, cols, DETER, count, WIDTH, result)
    store_along(sums + number * count, rows, count, x, inverse, scales, result)


@triton.jit
def unmix(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    into_hidden: tl.tensor,  # (B, D)
    hidden_sums: tl.tensor,  # along, (tiles of D, B)
    total: tl.tensor,  # (B, D)
    total_inverse: tl.tensor,  # (B,)
    hidden_scale: tl.tensor,  # (D,)
    shared: tl.tensor,  # (>= 2 M, D)
    pre: tl.tensor,  # (B, 2 M)
    inverse: tl.tensor,  # (B, 2)
    scale: tl.tensor,  # (2, M)
    into: tl.tensor,  # of both embeddings, written, (B, 2 M)
    sums: tl.tensor,  # along of both, written, (2, tiles, B)
    count: tl.tensor,
    end: tl.tensor,  # of the sums that products are
    DETER: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Gradients of both embeddings."""
    PARTS: tl.constexpr = (EMBED + COLS - 1) // COLS
    part = number // PARTS
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    shared += part * EMBED * DETER
    x = load(pre + part * EMBED, rows, cols, 2 * EMBED, 1, count, EMBED)
    scales = vector(scale + part * EMBED, cols, EMBED)[None, :]
    inverse = vector(inverse + part, 2 * rows, 2 * count)[:, None]
    total_inverse = vector(total_inverse, rows, count)[None, :, None]
    along = (sum_tiles(hidden_sums, rows, count, TILES, LANES) / DETER)[None, :, None]
    result = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if DETER <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        y = operand(total, rows, k, DETER, count, DETER)
        grad = operand(into_hidden, rows, k, DETER, count, DETER)
        y_scale = factor(hidden_scale, k, DETER)
        grad = through_norm(y, total_inverse, y_scale, grad, along)
        result = dot(grad, weight(shared, k, cols, 1, DETER, DETER, EMBED), result, PRECISION)
    result = tl.sum(result, 0)
    store(into + part * EMBED, rows, cols, 2 * EMBED, count, EMBED, result)
    store_along(sums + number * count, rows, count, x, inverse, scales, result)


@triton.jit
def unmultiply_own(
    number: tl.tensor,  # of the tile
    rows: tl.tensor,  # of the batch, (ROWS,)
    into_hidden: tl.tensor,  # (B, D)
    hidden_sums: tl.tensor,  # along, (tiles of D, B)
    total: tl.tensor,  # (B, D)
    total_inverse: tl.tensor,  # (B,)
    hidden_scale: tl.tensor,  # (D,)
    own: tl.tensor,  # (g, d, d)
    rest: tl.tensor,  # of the gradient of the state before; added to, (B, D)
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
    """Gradient of the state by its block's own weights."""
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    at_block = number // PARTS * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    own += at_block * WIDTH
    total_inverse = vector(total_inverse, rows, count)[None, :, None]
    if WIDTH > DEPTH:
        along = sum_tiles(hidden_sums, rows, count, TILES, LANES) / DETER
    come = load(rest + at_block, rows, cols, DETER, 1, count, WIDTH)
    result = tl.zeros((SPLIT, ROWS, COLS), tl.float32)
    STAGES: tl.constexpr = 2 if WIDTH <= DEPTH else 4
    for at in tl.range(0, end, DEPTH, num_stages=STAGES):
        k = places(at, DEPTH, SPLIT)
        x = operand(total + at_block, rows, k, DETER, count, WIDTH)
        grad = operand(into_hidden + at_block, rows, k, DETER, count, WIDTH)
        scales = factor(hidden_scale + at_block, k, WIDTH)
        w = weight(own, k, cols, 1, WIDTH, WIDTH, WIDTH)
        if WIDTH <= DEPTH:
            along = sum_tiles(hidden_sums + tl.minimum(at, 0), rows, count, TILES, LANES) / DETER
        grad = through_norm(x, total_inverse, scales, grad, along[None, :, None])
        result = dot(grad, w, result, PRECISION)
    store(rest + at_block, rows, cols, DETER, count, WIDTH, tl.sum(result, 0) + come)
