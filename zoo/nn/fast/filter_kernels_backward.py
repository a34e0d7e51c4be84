"""A step back through the filter; :mod:`.filter_triton_backward` says how they follow."""

import triton
import triton.language as tl

from dreamzoo.nn.fast.tiles import dot, follow, load, store, sum_tiles, vector


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

    :param inverse: of the root mean square of x's rows, (rows, 1)
    :param scale: (1, columns)
    :param along: mean over a row of the norm's result times its gradient, (rows, 1)
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
    into: tl.tensor,  # of the next step's embeddings, (B, 3 M)
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
    LATENTS: tl.constexpr,
    CLASSES: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    TAKEN: tl.constexpr,  # latents of a program
    CLASS_LANES: tl.constexpr,  # classes, rounded up
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Gradient of the sample, added to that of its probabilities, towards the logits."""
    follow(CHAINED)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    places = tl.arange(0, TAKEN * CLASS_LANES)
    latent = tl.program_id(0) * TAKEN + places // CLASS_LANES
    inside = (places % CLASS_LANES < CLASSES) & (latent < LATENTS)
    FLAT: tl.constexpr = LATENTS * CLASSES
    cols = tl.where(inside, latent * CLASSES + places % CLASS_LANES, FLAT)
    along = (sum_tiles(sums, rows, count, TILES, LANES) / EMBED)[:, None]
    inverse = vector(inverse + 1, 2 * rows, 2 * count)[:, None]
    total = tl.zeros((ROWS, TAKEN * CLASS_LANES), tl.float32)
    for at in tl.range(0, EMBED, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(pre + EMBED, rows, k, 2 * EMBED, 1, count, EMBED)
        grad = load(into + EMBED, rows, k, 3 * EMBED, 1, count, EMBED)
        scales = vector(scale + EMBED, k, EMBED)[None, :]
        grad = through_norm(x, inverse, scales, grad, along)
        total = dot(grad, load(weights, k, cols, FLAT, 1, EMBED, FLAT), total, PRECISION)
    total *= vector(keep, rows, count)[:, None]
    total += load(into_probs, rows, cols, FLAT, 1, count, FLAT)
    share = load(probs, rows, cols, FLAT, 1, count, FLAT) - unimix / CLASSES
    share = tl.where(inside[None, :], share, 0.0)
    weighted = tl.reshape(total * share, (ROWS, TAKEN, CLASS_LANES))
    share = tl.reshape(share, (ROWS, TAKEN, CLASS_LANES))
    result = weighted - share * (tl.sum(weighted, axis=2, keep_dims=True) / (1.0 - unimix))
    result = tl.reshape(result, (ROWS, TAKEN * CLASS_LANES))
    store(out, rows, cols, FLAT, count, FLAT, result)


@triton.jit
def unlogit(
    logits_grad: tl.tensor,  # (B, S * C)
    weights: tl.tensor,  # (S * C, M)
    pre: tl.tensor,  # (B, M)
    inverse: tl.tensor,  # (B,)
    scale: tl.tensor,  # (M,)
    into: tl.tensor,  # written, (B, M)
    sums: tl.tensor,  # along, written, (tiles, B)
    count: tl.tensor,
    FLAT: tl.constexpr,
    EMBED: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Gradient of the posterior's hidden layer."""
    follow(CHAINED)
    number = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    cols = number * COLS + tl.arange(0, COLS)
    total = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, FLAT, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(logits_grad, rows, k, FLAT, 1, count, FLAT)
        total = dot(x, load(weights, k, cols, EMBED, 1, FLAT, EMBED), total, PRECISION)
    store(into, rows, cols, EMBED, count, EMBED, total)
    x = load(pre, rows, cols, EMBED, 1, count, EMBED)
    scales = vector(scale, cols, EMBED)[None, :]
    inverse = vector(inverse, rows, count)[:, None]
    store_along(sums + number * count, rows, count, x, inverse, scales, total)


@triton.jit
def ungate(
    into_post: tl.tensor,  # of this step, (B, M)
    post_sums: tl.tensor,  # along, (tiles, B)
    pre_post: tl.tensor,  # (B, M)
    post_inverse: tl.tensor,  # (B,)
    post_scale: tl.tensor,  # (M,)
    into: tl.tensor,  # of the next step's embeddings, (B, 3 M)
    sums: tl.tensor,  # along of the first, (tiles, B)
    pre: tl.tensor,  # of the next step, (B, 2 M)
    inverse: tl.tensor,  # the same, (B, 2)
    scale: tl.tensor,  # (2, M)
    weights: tl.tensor,  # of posterior and embedding, (2, M, D)
    keep: tl.tensor,  # of the next step, (B,)
    grad_deter: tl.tensor,  # from outside, (B, D)
    gates: tl.tensor,  # (g, B, 3 d)
    bias: tl.tensor,  # (g, 3 d)
    before: tl.tensor,  # state before the step, (B, D)
    rest: tl.tensor,  # of the gradient of the state after, from the next step; becomes that before
    gates_grad: tl.tensor,  # written, (g, B, 3 d)
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    EMBED: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Sum up the gradient of the state after the step, go back through the gates."""
    follow(CHAINED)
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    block = tl.program_id(0) // PARTS
    at_block = block * WIDTH
    cols = tl.program_id(0) % PARTS * COLS + tl.arange(0, COLS)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    post_along = (sum_tiles(post_sums, rows, count, TILES, LANES) / EMBED)[:, None]
    along = (sum_tiles(sums, rows, count, TILES, LANES) / EMBED)[:, None]
    post_inverse = vector(post_inverse, rows, count)[:, None]
    inverse = vector(inverse, 2 * rows, 2 * count)[:, None]
    kept = vector(keep, rows, count)[:, None]
    weights += at_block
    after = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, EMBED, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(pre_post, rows, k, EMBED, 1, count, EMBED)
        grad = load(into_post, rows, k, EMBED, 1, count, EMBED)
        scales = vector(post_scale, k, EMBED)[None, :]
        grad = through_norm(x, post_inverse, scales, grad, post_along)
        after = dot(grad, load(weights, k, cols, DETER, 1, EMBED, WIDTH), after, PRECISION)
        x = load(pre, rows, k, 2 * EMBED, 1, count, EMBED)
        grad = load(into, rows, k, 3 * EMBED, 1, count, EMBED)
        grad = through_norm(x, inverse, vector(scale, k, EMBED)[None, :], grad, along) * kept
        w = load(weights + EMBED * DETER, k, cols, DETER, 1, EMBED, WIDTH)
        after = dot(grad, w, after, PRECISION)
    after += load(grad_deter + at_block, rows, cols, DETER, 1, count, WIDTH)
    after += load(rest + at_block, rows, cols, DETER, 1, count, WIDTH) * kept
    gates += at_block * count * 3
    gates_grad += at_block * count * 3
    bias += 3 * at_block
    reset = load(gates, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    reset = tl.sigmoid(reset + vector(bias, cols, WIDTH)[None, :])
    raw = load(gates + WIDTH, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    raw += vector(bias + WIDTH, cols, WIDTH)[None, :]
    candidate = 2.0 * tl.sigmoid(2.0 * reset * raw) - 1.0
    update = load(gates + 2 * WIDTH, rows, cols, 3 * WIDTH, 1, count, WIDTH)
    update = tl.sigmoid(update + vector(bias + 2 * WIDTH, cols, WIDTH)[None, :])
    taken = after * update
    grad = taken * (1.0 - candidate * candidate)
    change = candidate - load(before + at_block, rows, cols, DETER, 1, count, WIDTH)
    change *= after * update * (1.0 - update)
    to_reset = grad * raw * reset * (1.0 - reset)
    store(gates_grad, rows, cols, 3 * WIDTH, count, WIDTH, to_reset)
    store(gates_grad + WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, grad * reset)
    store(gates_grad + 2 * WIDTH, rows, cols, 3 * WIDTH, count, WIDTH, change)
    store(rest + at_block, rows, cols, DETER, count, WIDTH, after - taken)


@triton.jit
def unhidden(
    gates_grad: tl.tensor,  # (g, B, 3 d)
    weights: tl.tensor,  # (g, d, 3 d)
    total: tl.tensor,  # (B, D)
    inverse: tl.tensor,  # (B,)
    scale: tl.tensor,  # (D,)
    into: tl.tensor,  # written, (B, D)
    sums: tl.tensor,  # along, written, (tiles, B)
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Gradient of the hidden layer of the core."""
    follow(CHAINED)
    DETER: tl.constexpr = BLOCKS * WIDTH
    PARTS: tl.constexpr = (WIDTH + COLS - 1) // COLS
    number = tl.program_id(0)
    block = number // PARTS
    at_block = block * WIDTH
    cols = number % PARTS * COLS + tl.arange(0, COLS)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    gates_grad += at_block * count * 3
    weights += at_block * 3 * WIDTH
    result = tl.zeros((ROWS, COLS), tl.float32)
    for at in tl.range(0, 3 * WIDTH, DEPTH):
        k = at + tl.arange(0, DEPTH)
        x = load(gates_grad, rows, k, 3 * WIDTH, 1, count, 3 * WIDTH)
        w = load(weights, k, cols, 1, 3 * WIDTH, 3 * WIDTH, WIDTH)
        result = dot(x, w, result, PRECISION)
    store(into + at_block, rows, cols, DETER, count, WIDTH, result)
    x = load(total + at_block, rows, cols, DETER, 1, count, WIDTH)
    scales = vector(scale + at_block, cols, WIDTH)[None, :]
    inverse = vector(inverse, rows, count)[:, None]
    store_along(sums + number * count, rows, count, x, inverse, scales, result)


@triton.jit
def unmix(
    into_hidden: tl.tensor,  # (B, D)
    hidden_sums: tl.tensor,  # along, (tiles of D, B)
    total: tl.tensor,  # (B, D)
    total_inverse: tl.tensor,  # (B,)
    hidden_scale: tl.tensor,  # (D,)
    shared: tl.tensor,  # (3 M, D)
    own: tl.tensor,  # (g, d, d)
    pre: tl.tensor,  # (B, 2 M)
    inverse: tl.tensor,  # (B, 2)
    scale: tl.tensor,  # (2, M)
    into: tl.tensor,  # of both embeddings and the action, written, (B, 3 M)
    sums: tl.tensor,  # along of both embeddings, written, (3, tiles, B)
    rest: tl.tensor,  # of the gradient of the state before; added to
    count: tl.tensor,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    EMBED: tl.constexpr,
    HIDDEN_TILES: tl.constexpr,
    HIDDEN_LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    OWN_COLS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    CHAINED: tl.constexpr,
) -> None:
    """Gradients of the embeddings, and of the state by its block's own weights."""
    follow(CHAINED)
    DETER: tl.constexpr = BLOCKS * WIDTH
    TILES: tl.constexpr = (EMBED + COLS - 1) // COLS
    OWN_TILES: tl.constexpr = (WIDTH + OWN_COLS - 1) // OWN_COLS
    program = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    along = (sum_tiles(hidden_sums, rows, count, HIDDEN_TILES, HIDDEN_LANES) / DETER)[:, None]
    total_inverse = vector(total_inverse, rows, count)[:, None]
    if program < 3 * TILES:
        part = program // TILES
        cols = program % TILES * COLS + tl.arange(0, COLS)
        shared += part * EMBED * DETER
        result = tl.zeros((ROWS, COLS), tl.float32)
        for at in tl.range(0, DETER, DEPTH):
            k = at + tl.arange(0, DEPTH)
            x = load(total, rows, k, DETER, 1, count, DETER)
            grad = load(into_hidden, rows, k, DETER, 1, count, DETER)
            scales = vector(hidden_scale, k, DETER)[None, :]
            grad = through_norm(x, total_inverse, scales, grad, along)
            w = load(shared, k, cols, 1, DETER, DETER, EMBED)
            result = dot(grad, w, result, PRECISION)
        store(into + part * EMBED, rows, cols, 3 * EMBED, count, EMBED, result)
        if part < 2:
            x = load(pre + part * EMBED, rows, cols, 2 * EMBED, 1, count, EMBED)
            scales = vector(scale + part * EMBED, cols, EMBED)[None, :]
            row_inverse = vector(inverse + part, 2 * rows, 2 * count)[:, None]
            store_along(sums + program * count, rows, count, x, row_inverse, scales, result)
    else:
        at_block = (program - 3 * TILES) // OWN_TILES * WIDTH
        own_cols = (program - 3 * TILES) % OWN_TILES * OWN_COLS + tl.arange(0, OWN_COLS)
        own += at_block * WIDTH
        mine = load(rest + at_block, rows, own_cols, DETER, 1, count, WIDTH)
        for at in tl.range(0, WIDTH, DEPTH):
            k = at + tl.arange(0, DEPTH)
            x = load(total + at_block, rows, k, DETER, 1, count, WIDTH)
            grad = load(into_hidden + at_block, rows, k, DETER, 1, count, WIDTH)
            scales = vector(hidden_scale + at_block, k, WIDTH)[None, :]
            grad = through_norm(x, total_inverse, scales, grad, along)
            w = load(own, k, own_cols, 1, WIDTH, WIDTH, WIDTH)
            mine = dot(grad, w, mine, PRECISION)
        store(rest + at_block, rows, own_cols, DETER, count, WIDTH, mine)
