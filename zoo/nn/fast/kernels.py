"""
Element-wise arithmetic of the hot loops, each function in one pass over memory.

Every function exists three times: in plain torch, for any device and dtype; compiled for float32
on a CPU if `numba <https://numba.pydata.org>`_ is installed (``pip install dreamzoo[fast]``); and
in `Triton <https://triton-lang.org>`_, which comes with torch for CUDA, for float32 there. All
compute the same up to rounding. Torch alone needs six to ten passes, each with its own call, and
on CUDA with its own kernel; its ``exp`` on a CPU takes several times as long as the polynomial
here. ``DREAMZOO_NUMBA=0`` and ``DREAMZOO_TRITON=0`` in the environment turn the fast forms off;
:mod:`dreamzoo.nn.fast.switch` chooses among them while a program runs.

All tensors are contiguous. Where a result is one part of wider rows, ``at`` says in which column
it begins. What writes into a given tensor has no gradient: the callers go back by hand, or, where
:func:`needs_graph` says so, compute by torch's own functions instead. Compiled code believes what
it is told about memory: shapes and dtypes are looked at before, as torch's own functions do.
"""

import os
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.switch import in_use, needs_graph

try:
    if os.environ.get("DREAMZOO_NUMBA") == "0":
        raise ImportError
    from dreamzoo.nn.fast import compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

#: Added to the mean square inside the root (reference nets.py, Norm); torch's default differs.
NORM_EPS = 1e-4


FLOAT32 = np.dtype(np.float32)


def uses_numba(x: Tensor) -> bool:
    """Return whether the compiled form handles tensors like x."""
    return compiled is not None and x.dtype is th.float32 and x.is_cpu and in_use() == "fast"


@cache
def has_triton() -> bool:
    """Return whether Triton is installed and not turned off."""
    return os.environ.get("DREAMZOO_TRITON") != "0" and find_spec("triton") is not None


def uses_triton(x: Tensor) -> bool:
    """Return whether the form in Triton handles tensors like x."""
    if x.dtype is not th.float32 or not (x.is_cuda or in_use() == "triton"):
        return False
    return in_use() in ("fast", "triton") and has_triton()


@cache
def _norms() -> ModuleType:
    from dreamzoo.nn.fast.triton import kernels as triton_kernels

    return triton_kernels


@cache
def _categoricals() -> ModuleType:
    from dreamzoo.nn.fast.triton import categoricals as triton_categoricals

    return triton_categoricals


def _arrays(*expected: tuple[Tensor, tuple[int, ...]]) -> list[np.ndarray]:
    """
    View tensors as arrays; refuse those that compiled code would read or write past their end.

    :param expected: tensors and their shapes; all are float32, contiguous and on a CPU
    :raises ValueError: names what was given and what is expected
    """
    try:
        arrays = [x.numpy() for x, _ in expected]
    except (TypeError, RuntimeError):  # on another device, or with a gradient
        arrays = []
    for array, (_, shape) in zip(arrays, expected, strict=False):
        # Of an array this takes half the time that it takes of a tensor.
        if array.shape != shape or array.dtype is not FLOAT32 or not array.flags.c_contiguous:
            arrays = []
    if not arrays:
        found = [f"{x.dtype} {tuple(x.shape)} {x.stride()} on {x.device}" for x, _ in expected]
        raise ValueError(
            f"Tensors that do not belong together, with their strides: {found}; expected "
            f"contiguous float32 on cpu of the shapes {[shape for _, shape in expected]}."
        )
    return arrays


def norm_silu(x: Tensor, scale: Tensor, out: Tensor, at: int = 0) -> Tensor:
    """
    SiLU of the RMS norm of x, (N, G, M), every group of M by itself.

    :param x: (N, G * M)
    :param scale: (G, M)
    :param out: (N, >= G * M), written from column ``at`` on; may be x itself, not a view of it
    :return: out
    """
    if uses_numba(x):
        # Acting calls it nine times a step: looked at as arrays, shapes cost a third less.
        try:
            values, weights, written = x.numpy(), scale.numpy(), out.numpy()
            width = weights.size
            fits = (
                weights.ndim == written.ndim == 2
                and values.shape == (len(written), width)
                and written.shape[1] >= at + width
                and values.dtype is weights.dtype is written.dtype is FLOAT32
                and values.flags.c_contiguous
                and weights.flags.c_contiguous
                and written.flags.c_contiguous
            )
        except (TypeError, RuntimeError):  # on another device, or with a gradient
            fits = False
        if not fits:
            rows, width = x.shape[0], scale.numel()
            by_group = tuple(scale.shape) if scale.dim() == 2 else (1, width)
            result = (rows, max(at + width, out.shape[-1]))
            _arrays((x, (rows, width)), (scale, by_group), (out, result))  # refuses them
        compiled.norm_silu(values, weights, written, at)
    elif uses_triton(x):
        _norms().norm_silu(x, scale, out, at)
    else:
        _norm_silu(x, scale, out, at)
    return out


def _norm_silu(x: Tensor, scale: Tensor, out: Tensor, at: int) -> None:
    groups = x.unflatten(1, scale.shape)
    normed = groups * _inverse_rms(groups) * scale
    out[:, at : at + x.shape[1]] = th.nn.functional.silu(normed).flatten(1)


def norm_silu_backward(
    x: Tensor,
    scale: Tensor,
    grad: Tensor,
    scale_grad: Tensor,
    at: int = 0,
    bias_grad: Tensor | None = None,
) -> Tensor:
    """
    Gradient of :func:`norm_silu`.

    :param grad: of the result, (N, >= G * M), read from column ``at`` on
    :param scale_grad: added to, (G, M)
    :param bias_grad: of a bias that x contains, added to, (G * M,)
    :return: gradient of x, (N, G * M)
    """
    out = th.empty_like(x)
    if uses_triton(x):
        _norms().norm_silu_backward(x, scale, grad, scale_grad, bias_grad, out, at)
        return out
    if uses_numba(x):
        rows, (groups, each) = x.shape[0], scale.shape
        width = groups * each
        values, weights, into, written, sums = _arrays(
            (x, (rows, width)),
            (scale, (groups, each)),
            (grad, (rows, max(at + width, grad.shape[-1]))),
            (out, (rows, width)),
            (scale_grad, (groups, each)),
        )
        compiled.norm_silu_backward(values, weights, into, written, sums, at)
    else:
        _norm_silu_backward(x, scale, grad[:, at : at + x.shape[1]], scale_grad, out)
    if bias_grad is not None:
        bias_grad.add_(out.sum(0))
    return out


def _norm_silu_backward(
    x: Tensor, scale: Tensor, grad: Tensor, scale_grad: Tensor, out: Tensor
) -> None:
    groups = x.unflatten(1, scale.shape)
    inverse = _inverse_rms(groups)
    unit = groups * inverse
    normed = unit * scale
    into = th.ops.aten.silu_backward(grad.view_as(groups), normed)
    scale_grad += (into * unit).sum(0)
    along = (into * normed).mean(-1, keepdim=True)
    out.copy_(((into * scale - unit * along) * inverse).flatten(1))


def _inverse_rms(x: Tensor) -> Tensor:
    return th.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPS)


def block_norm_silu(dense: Tensor, own: Tensor, scale: Tensor, out: Tensor) -> None:
    """
    SiLU of the RMS norm of a sum, whose second part and result are stored block after block.

    :param dense: (N, D); becomes the sum
    :param own: (g, N, D / g)
    :param scale: (D,)
    :param out: (g, N, D / g), written
    """
    if uses_numba(dense):
        blocks, rows, dim = len(own), len(dense), len(scale)
        parts = blocks, rows, dim // blocks
        arrays = _arrays((dense, (rows, dim)), (own, parts), (scale, (dim,)), (out, parts))
        compiled.block_norm_silu(*arrays)
    elif uses_triton(dense):
        _norms().block_norm_silu(dense, own, scale, out)
    else:
        _block_norm_silu(dense, own, scale, out)


def _block_norm_silu(dense: Tensor, own: Tensor, scale: Tensor, out: Tensor) -> None:
    blocks = len(own)
    dense.unflatten(1, (blocks, -1)).add_(own.transpose(0, 1))
    normed = th.nn.functional.silu(dense * _inverse_rms(dense) * scale)
    out.copy_(normed.unflatten(1, (blocks, -1)).transpose(0, 1))


def block_norm_silu_backward(
    total: Tensor, scale: Tensor, grad: Tensor, out: Tensor, scale_grad: Tensor
) -> None:
    """
    Gradient of :func:`block_norm_silu`.

    :param total: the sum, (N, D)
    :param grad: of the result, (g, N, D / g)
    :param out: gradient of the sum, written, (N, D)
    :param scale_grad: added to, (D,)
    """
    if uses_numba(total):
        rows, dim, blocks = len(total), len(scale), len(grad)
        arrays = _arrays(
            (total, (rows, dim)),
            (scale, (dim,)),
            (grad, (blocks, rows, dim // blocks)),
            (out, (rows, dim)),
            (scale_grad, (dim,)),
        )
        compiled.block_norm_silu_backward(*arrays)
        return
    if uses_triton(total):
        _norms().block_norm_silu_backward(total, scale, grad, out, scale_grad)
        return
    by_row = grad.transpose(0, 1).flatten(1)
    out.copy_(norm_silu_backward(total, scale[None], by_row, scale_grad[None]))


def gru(gates: Tensor, bias: Tensor, deter: Tensor, out: Tensor) -> None:
    """
    Next state from the gates: update * tanh(reset * candidate) + (1 - update) * deter.

    :param gates: reset, candidate and update of every block before bias and activation,
        (g, N, 3 D / g)
    :param bias: (g, 3 D / g)
    :param deter: state before, (N, >= D)
    :param out: state after, (N, >= D), the first D columns are written
    """
    if uses_numba(gates):
        blocks, rows, width = gates.shape
        dim = blocks * width // 3
        arrays = _arrays(
            (gates, (blocks, rows, 3 * dim // blocks)),
            (bias, (blocks, width)),
            (deter, (rows, max(dim, deter.shape[-1]))),
            (out, (rows, max(dim, out.shape[-1]))),
        )
        compiled.gru(*arrays)
    elif uses_triton(gates):
        _norms().gru(gates, bias, deter, out)
    else:
        _gru(gates, bias, deter, out)


def _gru(gates: Tensor, bias: Tensor, deter: Tensor, out: Tensor) -> None:
    _, candidate, update, _ = _gru_parts(gates, bias)
    by_block = _by_block(out, gates)
    by_block.copy_(th.lerp(_by_block(deter, gates), candidate, update))


def gru_backward(
    gates: Tensor, bias: Tensor, deter: Tensor, grad: Tensor, gates_grad: Tensor
) -> Tensor:
    """
    Gradient of :func:`gru`.

    :param grad: of the state after, (N, D)
    :param gates_grad: of the gates, written, (g, N, 3 D / g)
    :return: gradient of the state before, without the way through the gates, (N, D)
    """
    out = th.empty_like(grad)
    if uses_numba(gates):
        blocks, rows, width = gates.shape
        dim = blocks * width // 3
        arrays = _arrays(
            (gates, (blocks, rows, 3 * dim // blocks)),
            (bias, (blocks, width)),
            (deter, (rows, max(dim, deter.shape[-1]))),
            (grad, (rows, dim)),
            (gates_grad, (blocks, rows, width)),
            (out, (rows, dim)),
        )
        compiled.gru_backward(*arrays)
    elif uses_triton(gates):
        _norms().gru_backward(gates, bias, deter, grad, gates_grad, out)
    else:
        _gru_backward(gates, bias, deter, grad, gates_grad, out)
    return out


def _gru_backward(
    gates: Tensor, bias: Tensor, deter: Tensor, grad: Tensor, gates_grad: Tensor, out: Tensor
) -> None:
    reset, candidate, update, before = _gru_parts(gates, bias)
    after = _by_block(grad, gates)
    taken = after * update
    into = th.ops.aten.tanh_backward(taken, candidate)
    aten = th.ops.aten
    parts = (
        aten.sigmoid_backward(into * before, reset),
        into * reset,
        aten.sigmoid_backward(after * (candidate - _by_block(deter, gates)), update),
    )
    gates_grad.copy_(th.cat(parts, dim=-1))
    _by_block(out, gates).copy_(after - taken)


def _by_block(x: Tensor, gates: Tensor) -> Tensor:
    """View the first D columns of x as (g, N, D / g)."""
    blocks, _, width = gates.shape
    return x[:, : blocks * width // 3].unflatten(1, (blocks, -1)).transpose(0, 1)


def _gru_parts(gates: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    reset, before, update = (gates + bias[:, None]).chunk(3, dim=-1)
    reset = th.sigmoid(reset)
    # tanh(x) = 2 sigmoid(2 x) - 1; torch's tanh takes four times as long on a CPU.
    candidate = 2 * th.sigmoid(2 * reset * before) - 1
    return reset, candidate, th.sigmoid(update), before


def sample_mixed(
    logits: Tensor, unimix: float, draws: Tensor | None, probs: Tensor, out: Tensor, at: int = 0
) -> None:
    """
    Mix categoricals with the uniform one and draw from them by inverting their distribution.

    :param logits: (N, S, C)
    :param unimix: share of the uniform distribution
    :param draws: uniform random numbers, (N, S); None takes the most likely class
    :param probs: mixed probabilities, written, (N, S, C)
    :param out: one-hot samples, (N, >= S * C), written from column ``at`` on
    """
    if uses_numba(logits) and draws is not None:
        rows, latents, classes = shape = tuple(logits.shape)
        scores, numbers, mixed, result = _arrays(
            (logits, shape),
            (draws, (rows, latents)),
            (probs, shape),
            (out, (rows, max(at + latents * classes, out.shape[-1]))),
        )
        compiled.sample_mixed(scores, unimix, numbers, mixed, result, at)
    elif uses_triton(logits):
        _categoricals().sample_mixed(logits, unimix, draws, probs, out, at)
    else:
        _sample_mixed(logits, unimix, draws, probs, out, at)


def _sample_mixed(
    logits: Tensor, unimix: float, draws: Tensor | None, probs: Tensor, out: Tensor, at: int
) -> None:
    # Over a last axis of a few classes torch's softmax is not vectorized (ten times slower).
    softmax = logits.transpose(1, 2).softmax(1).transpose(1, 2)
    probs.copy_((1 - unimix) * softmax + unimix / logits.shape[2])
    width = logits.shape[1] * logits.shape[2]
    out[:, at : at + width] = one_hot_sample(probs, draws).flatten(1)


def one_hot_sample(probs: Tensor, draws: Tensor | None) -> Tensor:
    """
    Draw one-hot vectors by inverting the cumulative distribution: one random number a draw.

    :param probs: (..., C)
    :param draws: uniform random numbers, (...); None takes the most likely class
    """
    if draws is None:
        return th.zeros_like(probs).scatter_(-1, probs.argmax(-1, keepdim=True), 1.0)
    # 0 ... 0 1 ... 1 over the classes, for sure 1 at the last; the sample is where it steps up.
    out = (probs.cumsum(-1) > draws[..., None]).to(probs.dtype)
    out[..., -1] = 1.0  # the sum may round to slightly below one
    out[..., 1:] -= out[..., :-1].clone()
    return out


def limited(x: Tensor) -> Tensor:
    """Scale numbers down to a size of at most one, without a gradient."""
    if uses_triton(x):
        from dreamzoo.nn.fast.triton import actions as triton_actions

        return triton_actions.limited(x)
    return x / x.abs().clamp(min=1.0)


def mixed_backward(probs: Tensor, unimix: float, grad: Tensor, out: Tensor) -> None:
    """
    Gradient of the mixed probabilities of :func:`sample_mixed` towards the logits.

    :param probs: mixed probabilities, (N, S, C)
    :param grad: of them, (N, S, C)
    :param out: of the logits, written, (N, S, C)
    """
    if uses_numba(probs):
        shape = tuple(probs.shape)
        mixed, into, result = _arrays((probs, shape), (grad, shape), (out, shape))
        compiled.mixed_backward(mixed, unimix, into, result)
    elif uses_triton(probs):
        _categoricals().mixed_backward(probs, unimix, grad, out)
    else:
        _mixed_backward(probs, unimix, grad, out)


def _mixed_backward(probs: Tensor, unimix: float, grad: Tensor, out: Tensor) -> None:
    share = probs - unimix / probs.shape[-1]  # (1 - unimix) * softmax
    weighted = grad * share
    out.copy_(weighted - share * (weighted.sum(-1, keepdim=True) / (1 - unimix)))


def two_hot_mean(logits: Tensor, outer: Tensor) -> Tensor:
    """
    Compute the expectation of symmetric bins, with autograd's gradient where that is enabled.

    The outer bins lie at +-5e8, so a plain float32 sum is off by about one. The difference of
    mirrored probabilities is taken before the product, which cancels them exactly.

    :param logits: (N, 2 K + 1)
    :param outer: the K positive bins, increasing, (K,)
    :return: (N,)
    """
    if uses_numba(logits) and not needs_graph():
        rows, half = len(logits), len(outer)
        scores, bins = _arrays((logits, (rows, 2 * half + 1)), (outer, (half,)))
        out = np.empty(rows, np.float32)
        compiled.two_hot_mean(scores, bins, out)
        return th.from_numpy(out)
    if uses_triton(logits) and not needs_graph():
        return _categoricals().two_hot_mean(logits, outer)
    return _two_hot_mean(logits, outer)


def _two_hot_mean(logits: Tensor, outer: Tensor) -> Tensor:
    probs = logits.softmax(-1)
    middle = len(outer)
    return (probs[:, middle + 1 :] - probs[:, :middle].flip(-1)) @ outer


def log_normalizer(logits: Tensor) -> Tensor:
    """
    Log of the sum of exponentials, (N, K) to (N,).

    :param logits: (N, K)
    """
    if uses_numba(logits):
        (scores,) = _arrays((logits, (len(logits), logits.shape[-1])))
        out = np.empty(len(logits), np.float32)
        compiled.log_normalizer(scores, out)
        return th.from_numpy(out)
    if uses_triton(logits):
        return _categoricals().log_normalizer(logits)
    return logits.logsumexp(-1)


def scaled_softmax(logits: Tensor, normalizer: Tensor, scale: Tensor, out: Tensor) -> None:
    """
    Write ``scale * exp(logits - normalizer)``, row by row.

    :param logits: (N, K)
    :param normalizer: of :func:`log_normalizer`, (N,)
    :param scale: (N,)
    :param out: (N, K)
    """
    if uses_numba(logits):
        rows, shape = len(logits), tuple(logits.shape)
        arrays = _arrays((logits, shape), (normalizer, (rows,)), (scale, (rows,)), (out, shape))
        compiled.scaled_softmax(*arrays)
    elif uses_triton(logits):
        _categoricals().scaled_softmax(logits, normalizer, scale, out)
    else:
        _scaled_softmax(logits, normalizer, scale, out)


def _scaled_softmax(logits: Tensor, normalizer: Tensor, scale: Tensor, out: Tensor) -> None:
    out.copy_((logits - normalizer[:, None]).exp_() * scale[:, None])
