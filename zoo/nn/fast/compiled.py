"""
The functions of :mod:`dreamzoo.nn.fast.kernels`, compiled by numba for float32 on a CPU.

Read that module for what they compute. Here every loop is written so that its innermost level
becomes vector instructions; they release Python's lock, so pieces can run in threads.
"""

from typing import Any

import numba
import numpy as np

f32, i32 = np.float32, np.int32
ONE, TWO, EPS = f32(1), f32(2), f32(1e-4)

# Sums may be reordered and products contracted; NaN and infinity must still come through.
SAFE = {"reassoc", "contract", "arcp", "nsz", "afn"}
kernel = numba.njit(fastmath=SAFE, nogil=True, error_model="numpy", cache=True)
inline = numba.njit(fastmath=SAFE, inline="always", error_model="numpy")


@inline
def exp(x: Any) -> Any:
    """Polynomial of Cephes' expf, relative error below 2e-7; saturates instead of overflowing."""
    x = f32(88.0) if x > f32(88.0) else x  # comparisons let NaN pass, min and max need not
    x = f32(-87.0) if x < f32(-87.0) else x
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - n * f32(0.693359375) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    y = p * r * r + r + ONE
    return y * i32((i32(n) + i32(127)) << i32(23)).view(np.float32)


@inline
def sigmoid(x: Any) -> Any:
    return ONE / (ONE + exp(-x))


@inline
def expm1(x: Any) -> Any:
    """``exp(x) - 1`` of x up to 0, precise where that is almost 0, by the same polynomial."""
    x = f32(-87.0) if x < f32(-87.0) else x
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = x - n * f32(0.693359375) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    scale = i32((i32(n) + i32(127)) << i32(23)).view(np.float32)
    return (p * r * r + r) * scale + (scale - ONE)


@numba.njit(fastmath=True, error_model="numpy")
def largest(row: Any) -> Any:
    """Find the maximum; where there is NaN it may be any entry, and NaN shows in what follows."""
    top = row[0]
    for j in range(len(row)):
        top = max(top, row[j])
    return top


@kernel
def norm_silu(x: Any, scale: Any, out: Any, at: int) -> None:
    groups, width = scale.shape
    for i in range(len(x)):
        for g in range(groups):
            row, weight = x[i, g * width : (g + 1) * width], scale[g]
            result = out[i, at + g * width : at + (g + 1) * width]
            square = f32(0)
            for j in range(width):
                square += row[j] * row[j]
            inverse = ONE / np.sqrt(square / f32(width) + EPS)
            for j in range(width):
                v = row[j] * inverse * weight[j]
                result[j] = v * sigmoid(v)


@kernel
def norm_silu_backward(x: Any, scale: Any, grad: Any, out: Any, scale_grad: Any, at: int) -> None:
    groups, width = scale.shape
    for i in range(len(x)):
        for g in range(groups):
            row, weight = x[i, g * width : (g + 1) * width], scale[g]
            into = grad[i, at + g * width : at + (g + 1) * width]
            result, total = out[i, g * width : (g + 1) * width], scale_grad[g]
            square = f32(0)
            for j in range(width):
                square += row[j] * row[j]
            inverse = ONE / np.sqrt(square / f32(width) + EPS)
            along = f32(0)
            for j in range(width):
                unit = row[j] * inverse
                v = unit * weight[j]
                s = sigmoid(v)
                d = into[j] * s * (ONE + v * (ONE - s))
                total[j] += d * unit
                along += d * v
                result[j] = d * weight[j]
            along /= f32(width)
            for j in range(width):
                result[j] = (result[j] - row[j] * inverse * along) * inverse


@kernel
def block_norm_silu(dense: Any, own: Any, scale: Any, out: Any) -> None:
    blocks, rows, width = own.shape
    for i in range(rows):
        square = f32(0)
        for b in range(blocks):
            part, more = dense[i, b * width : (b + 1) * width], own[b, i]
            for j in range(width):
                v = part[j] + more[j]
                part[j] = v
                square += v * v
        inverse = ONE / np.sqrt(square / f32(blocks * width) + EPS)
        for b in range(blocks):
            part, weight = dense[i, b * width : (b + 1) * width], scale[b * width : (b + 1) * width]
            result = out[b, i]
            for j in range(width):
                v = part[j] * inverse * weight[j]
                result[j] = v * sigmoid(v)


@kernel
def block_norm_silu_backward(total: Any, scale: Any, grad: Any, out: Any, scale_grad: Any) -> None:
    blocks, rows, width = grad.shape
    for i in range(rows):
        square = f32(0)
        for j in range(blocks * width):
            square += total[i, j] * total[i, j]
        inverse = ONE / np.sqrt(square / f32(blocks * width) + EPS)
        along = f32(0)
        for b in range(blocks):
            cut = slice(b * width, (b + 1) * width)
            row, weight, result, sums = total[i, cut], scale[cut], out[i, cut], scale_grad[cut]
            into = grad[b, i]
            for j in range(width):
                unit = row[j] * inverse
                v = unit * weight[j]
                s = sigmoid(v)
                d = into[j] * s * (ONE + v * (ONE - s))
                sums[j] += d * unit
                along += d * v
                result[j] = d * weight[j]
        along /= f32(blocks * width)
        for j in range(blocks * width):
            out[i, j] = (out[i, j] - total[i, j] * inverse * along) * inverse


@kernel
def gru(gates: Any, bias: Any, deter: Any, out: Any) -> None:
    blocks, rows, width = gates.shape
    width //= 3
    for b in range(blocks):
        shift = bias[b]
        for i in range(rows):
            gate = gates[b, i]
            before, after = (
                deter[i, b * width : (b + 1) * width],
                out[i, b * width : (b + 1) * width],
            )
            for j in range(width):
                reset = sigmoid(gate[j] + shift[j])
                candidate = (gate[width + j] + shift[width + j]) * reset
                candidate = TWO * sigmoid(TWO * candidate) - ONE
                update = sigmoid(gate[2 * width + j] + shift[2 * width + j])
                after[j] = before[j] + update * (candidate - before[j])


@kernel
def gru_backward(gates: Any, bias: Any, deter: Any, grad: Any, gates_grad: Any, out: Any) -> None:
    blocks, rows, width = gates.shape
    width //= 3
    # Loops over few arrays each: with more the compiler gives up on vector instructions.
    reset = np.empty(width, np.float32)
    update, d = np.empty_like(reset), np.empty_like(reset)
    for b in range(blocks):
        cut = slice(b * width, (b + 1) * width)
        for_reset, for_candidate, for_update = (
            bias[b, :width],
            bias[b, width : 2 * width],
            bias[b, 2 * width :],
        )
        for i in range(rows):
            gate, into = gates[b, i], gates_grad[b, i]
            raw, before, after, back = (
                gate[width : 2 * width],
                deter[i, cut],
                grad[i, cut],
                out[i, cut],
            )
            for j in range(width):
                reset[j] = sigmoid(gate[j] + for_reset[j])
                update[j] = sigmoid(gate[2 * width + j] + for_update[j])
            to_update, to_candidate = into[2 * width :], into[width : 2 * width]
            for j in range(width):
                x = raw[j] + for_candidate[j]
                candidate = TWO * sigmoid(TWO * reset[j] * x) - ONE
                to_update[j] = candidate
                d[j] = ONE - candidate * candidate
            for j in range(width):
                taken = after[j] * update[j]
                to_update[j] = (to_update[j] - before[j]) * taken * (ONE - update[j])
                d[j] *= taken
                back[j] = after[j] - taken
            for j in range(width):
                to_candidate[j] = d[j] * reset[j]
                into[j] = to_candidate[j] * (raw[j] + for_candidate[j]) * (ONE - reset[j])


@kernel
def sample_mixed(logits: Any, unimix: float, draws: Any, probs: Any, out: Any, at: int) -> None:
    rows, latents, classes = logits.shape
    share, uniform = f32(1 - unimix), f32(unimix / classes)
    for i in range(rows):
        scores, values, result = logits[i].reshape(-1), probs[i].reshape(-1), out[i]
        for k in range(latents):
            start = k * classes
            top = scores[start]
            for c in range(start + 1, start + classes):
                top = scores[c] if scores[c] > top else top
            for c in range(start, start + classes):
                values[c] = scores[c] - top
        for j in range(latents * classes):
            values[j] = exp(values[j])
        for k in range(latents):
            start = k * classes
            total = f32(0)
            for c in range(start, start + classes):
                total += values[c]
            factor, draw = share / total, draws[i, k]
            reached, before = f32(0), f32(0)
            for c in range(start, start + classes):
                p = values[c] * factor + uniform
                values[c] = p
                reached += p
                above = ONE if reached > draw or c == start + classes - 1 else f32(0)
                result[at + c] = above - before
                before = above


@kernel
def mixed_backward(probs: Any, unimix: float, grad: Any, out: Any) -> None:
    rows, latents, classes = probs.shape
    share, uniform = f32(1 - unimix), f32(unimix / classes)
    for i in range(rows):
        for k in range(latents):
            mean = f32(0)
            for c in range(classes):
                mean += grad[i, k, c] * (probs[i, k, c] - uniform)
            mean /= share
            for c in range(classes):
                out[i, k, c] = (grad[i, k, c] - mean) * (probs[i, k, c] - uniform)


@kernel
def two_hot_mean(logits: Any, outer: Any, out: Any) -> None:
    rows, bins = logits.shape
    middle = len(outer)
    probs = np.empty(bins, np.float32)
    for i in range(rows):
        row = logits[i]
        top = largest(row)
        total = f32(0)
        for j in range(bins):
            probs[j] = exp(row[j] - top)
            total += probs[j]
        mean = f32(0)
        for j in range(middle):
            mean += (probs[middle + 1 + j] - probs[middle - 1 - j]) * outer[j]
        out[i] = mean / total


@kernel
def log_normalizer(logits: Any, out: Any) -> None:
    rows, bins = logits.shape
    for i in range(rows):
        row = logits[i]
        top = largest(row)
        total = f32(0)
        for j in range(bins):
            total += exp(row[j] - top)
        out[i] = top + np.log(total)


@kernel
def scaled_softmax(logits: Any, normalizer: Any, scale: Any, out: Any) -> None:
    rows, bins = logits.shape
    for i in range(rows):
        row, result, shift, factor = logits[i], out[i], normalizer[i], scale[i]
        for j in range(bins):
            result[j] = factor * exp(row[j] - shift)


@kernel
def find_ones(x: Any, start: int, classes: int, out: Any) -> bool:
    rows, latents = out.shape
    for i in range(rows):
        wrong = i32(0)
        for k in range(latents):
            one_hot = x[i, start + k * classes : start + (k + 1) * classes]
            ones, zeros, where = i32(0), i32(0), i32(0)
            for j in range(classes):
                one = i32(one_hot[j] == ONE)
                ones += one
                zeros += i32(one_hot[j] == f32(0))
                where += one * i32(j)
            wrong |= i32(ones != i32(1)) | i32(ones + zeros != i32(classes))
            out[i, k] = i32(k * classes) + where
        if wrong:
            return False
    return True


@kernel
def gather(table: Any, columns: Any, out: Any, first: int, last: int) -> None:
    rows, count = columns.shape
    for i in range(rows):
        result = out[i, first:last]
        for k in range(0, count - 3, 4):
            a, b = table[columns[i, k], first:last], table[columns[i, k + 1], first:last]
            c, d = table[columns[i, k + 2], first:last], table[columns[i, k + 3], first:last]
            for j in range(last - first):
                result[j] += (a[j] + b[j]) + (c[j] + d[j])
        for k in range(count - count % 4, count):
            one = table[columns[i, k], first:last]
            for j in range(last - first):
                result[j] += one[j]


@kernel
def scatter(grad: Any, columns: Any, out: Any, first: int, last: int) -> None:
    rows, count = columns.shape
    for i in range(rows):
        into = grad[i, first:last]
        for k in range(count):
            total = out[columns[i, k], first:last]
            for j in range(last - first):
                total[j] += into[j]


@kernel
def elu(x: Any) -> None:
    for i in range(len(x)):
        row = x[i]
        for j in range(len(row)):
            v = row[j]
            below = f32(0) if v > f32(0) else v
            row[j] = v if v > f32(0) else expm1(below)


@kernel
def elu_biased(x: Any, bias: Any) -> None:
    for i in range(len(x)):
        row = x[i]
        for j in range(len(bias)):
            row[j] += bias[j]
        for j in range(len(row)):
            v = row[j]
            below = f32(0) if v > f32(0) else v
            row[j] = v if v > f32(0) else expm1(below)


@kernel
def elu_slope(grad: Any, result: Any, out: Any) -> None:
    for i in range(len(result)):
        into, row, back = grad[i if len(grad) > 1 else 0], result[i], out[i]
        for j in range(len(row)):
            back[j] = into[j] * (ONE if row[j] > f32(0) else row[j] + ONE)


@kernel
def gru_cell(gates: Any, own: Any, before: Any, out: Any) -> None:
    rows, width = before.shape
    for i in range(rows):
        gate, more = gates[i, : 2 * width], own[i, : 2 * width]
        for j in range(2 * width):
            gate[j] = sigmoid(gate[j] + more[j])
        reset, keep, candidate = (
            gates[i, :width],
            gates[i, width : 2 * width],
            gates[i, 2 * width :],
        )
        remembered, old, new = own[i, 2 * width :], before[i], out[i]
        for j in range(width):
            candidate[j] += reset[j] * remembered[j]
        for j in range(width):
            candidate[j] = TWO * sigmoid(TWO * candidate[j]) - ONE
        for j in range(width):
            new[j] = candidate[j] + keep[j] * (old[j] - candidate[j])


@kernel
def gru_cell_backward(
    gates: Any, own: Any, before: Any, grad: Any, gates_grad: Any, own_grad: Any, out: Any
) -> None:
    rows, width = before.shape
    for i in range(rows):
        reset, keep, candidate = (
            gates[i, :width],
            gates[i, width : 2 * width],
            gates[i, 2 * width :],
        )
        old, more, into, back = before[i], own[i, 2 * width :], grad[i], out[i]
        to_candidate, of_own = gates_grad[i, 2 * width :], own_grad[i, 2 * width :]
        for j in range(width):
            kept = into[j] * keep[j]
            back[j] = kept
            to_candidate[j] = (into[j] - kept) * (ONE - candidate[j] * candidate[j])
        to_keep, own_keep = gates_grad[i, width : 2 * width], own_grad[i, width : 2 * width]
        for j in range(width):
            d = back[j] * (old[j] - candidate[j]) * (ONE - keep[j])
            to_keep[j] = d
            own_keep[j] = d
        to_reset, own_reset = gates_grad[i, :width], own_grad[i, :width]
        for j in range(width):
            taken = to_candidate[j] * reset[j]
            of_own[j] = taken
            d = taken * more[j] * (ONE - reset[j])
            to_reset[j] = d
            own_reset[j] = d
