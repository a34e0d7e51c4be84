"""Policies and beliefs in Triton: draws, log probabilities, divergences, with their gradients."""

from typing import Any

import torch as th
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamzoo.nn.fast.triton.kernels import check, launch, tile

#: Numbers of a tile where each stands for itself.
TILE = 256


@triton.jit
def _limited_kernel(x: tl.tensor, out: tl.tensor, count: tl.tensor, columns: tl.constexpr) -> None:
    place = tl.program_id(0).to(tl.int64) * columns + tl.arange(0, columns)
    v = tl.load(x + place, place < count, 0.0)
    size = tl.abs(v)
    tl.store(out + place, v / tl.where(size < 1.0, 1.0, size), place < count)


def limited(x: Tensor) -> Tensor:
    x = x.contiguous()
    check((x, tuple(x.shape)))
    out, grid = th.empty_like(x), (triton.cdiv(x.numel(), TILE),)
    launch(_limited_kernel, grid, x, out, x.numel(), TILE, num_warps=1)
    return out


# ------------------------------------------------------------------ bounded normal


@triton.jit
def _mean_and_share(raw_mean: tl.tensor, raw_std: tl.tensor) -> tl.tensor:
    return 2 * tl.sigmoid(2 * raw_mean) - 1, tl.sigmoid(raw_std + 2.0)


@triton.jit
def _normal_kernel(
    raw_mean: tl.tensor,
    raw_std: tl.tensor,
    noise: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    low: tl.tensor,
    span: tl.tensor,
    columns: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64) * columns + tl.arange(0, columns)
    known = place < count
    mean, share = _mean_and_share(
        tl.load(raw_mean + place, known, 0.0), tl.load(raw_std + place, known, 0.0)
    )
    tl.store(out + place, mean + (span * share + low) * tl.load(noise + place, known, 0.0), known)


def bounded_normal(
    raw_mean: Tensor, raw_std: Tensor, low: float, span: float, noise: Tensor
) -> Tensor:
    given = [x.contiguous() for x in (raw_mean, raw_std, noise)]
    check(*((x, tuple(raw_mean.shape)) for x in given))
    out, count = th.empty_like(given[0]), raw_mean.numel()
    grid = (triton.cdiv(count, TILE),)
    launch(_normal_kernel, grid, *given, out, count, low, span, TILE, num_warps=1)
    return out


@triton.jit
def _normal_terms_kernel(
    raw_mean: tl.tensor,
    raw_std: tl.tensor,
    action: tl.tensor,
    log_prob: tl.tensor,
    entropy: tl.tensor,
    rows: tl.tensor,
    low: tl.tensor,
    span: tl.tensor,
    width: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    first = tl.program_id(0).to(tl.int64) * tall + tl.arange(0, tall)
    column = tl.arange(0, columns)[None, :]
    inside = (first[:, None] < rows) & (column < width)
    place = first[:, None] * width + column
    mean, share = _mean_and_share(
        tl.load(raw_mean + place, inside, 0.0), tl.load(raw_std + place, inside, 0.0)
    )
    std = span * share + low
    scaled = (tl.load(action + place, inside, 0.0) - mean) / std
    log_std = tl.log(std)
    half: tl.constexpr = 0.9189385332046727  # of log(2 pi)
    terms = -0.5 * scaled * scaled - log_std - half
    tl.store(log_prob + first, tl.sum(tl.where(inside, terms, 0.0), 1), first < rows)
    terms = log_std + (0.5 + half)
    tl.store(entropy + first, tl.sum(tl.where(inside, terms, 0.0), 1), first < rows)


@triton.jit
def _normal_terms_backward_kernel(
    raw_mean: tl.tensor,
    raw_std: tl.tensor,
    action: tl.tensor,
    to_log_prob: tl.tensor,
    to_entropy: tl.tensor,
    mean_grad: tl.tensor,
    std_grad: tl.tensor,
    rows: tl.tensor,
    low: tl.tensor,
    span: tl.tensor,
    width: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = (tl.program_id(0) * tall + tl.arange(0, tall)[:, None]).to(tl.int64)
    column = tl.arange(0, columns)[None, :]
    inside = (row < rows) & (column < width)
    place = row * width + column
    mean, share = _mean_and_share(
        tl.load(raw_mean + place, inside, 0.0), tl.load(raw_std + place, inside, 0.0)
    )
    std = span * share + low
    scaled = (tl.load(action + place, inside, 0.0) - mean) / std
    log_grad = tl.load(to_log_prob + row, row < rows, 0.0)
    entropy_grad = tl.load(to_entropy + row, row < rows, 0.0)
    to_mean = log_grad * scaled / std * (1 - mean * mean)
    to_std = (log_grad * (scaled * scaled - 1) + entropy_grad) / std
    tl.store(mean_grad + place, to_mean, inside)
    tl.store(std_grad + place, to_std * span * share * (1 - share), inside)


class NormalTerms(th.autograd.Function):
    """
    Log probability and entropy of bounded normal policies.

    Arguments: raw mean, raw deviation and actions (N, A), actions without a gradient; smallest
    deviation and the largest's distance from it.
    """

    @staticmethod
    def forward(
        ctx: Any, raw_mean: Tensor, raw_std: Tensor, action: Tensor, low: float, span: float
    ) -> tuple[Tensor, Tensor]:
        rows, width = shape = tuple(raw_mean.shape)
        given = [x.contiguous() for x in (raw_mean, raw_std, action)]
        check(*((x, shape) for x in given))
        log_prob, entropy = given[0].new_empty(2, rows)
        tall, columns, n = tile(rows, width)
        grid = (triton.cdiv(rows, tall),)
        ctx.sizes = rows, low, span, width, tall, columns
        launch(_normal_terms_kernel, grid, *given, log_prob, entropy, *ctx.sizes, num_warps=n)
        ctx.save_for_backward(*given)
        return log_prob, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_log_prob: Tensor, to_entropy: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        rows, width = given[0].shape
        grads = to_log_prob.contiguous(), to_entropy.contiguous()
        out = th.empty_like(given[0]), th.empty_like(given[1])
        tall, _, n = tile(rows, width)
        grid = (triton.cdiv(rows, tall),)
        tensors = *given, *grads, *out
        launch(_normal_terms_backward_kernel, grid, *tensors, *ctx.sizes, num_warps=n)
        return *out, None, None, None


# ------------------------------------------------------------------ categoricals


@triton.jit
def _choose_kernel(
    logits: tl.tensor,
    draws: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    all_classes: tl.tensor,
    at: tl.tensor,
    dims: tl.tensor,
    dim: tl.tensor,
    share: tl.tensor,
    uniform: tl.tensor,
    classes: tl.constexpr,
    tall: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    first = tl.program_id(0).to(tl.int64) * tall + tl.arange(0, tall)
    column = tl.arange(0, columns)[None, :]
    known = (first < rows)[:, None]
    inside = known & (column < classes)
    x = tl.load(logits + first[:, None] * all_classes + at + column, inside, -float("inf"))
    x = tl.exp(x - tl.where(known, tl.max(x, 1)[:, None], 0.0))
    p = x * (share / tl.where(known, tl.sum(x, 1)[:, None], 1.0)) + uniform
    p = tl.where(column < classes, p, 0.0)
    draw = tl.load(draws + first * dims + dim, first < rows, 0.0)[:, None]
    passed = (tl.cumsum(p, 1) <= draw) & (column < classes)
    chosen = tl.minimum(tl.sum(passed.to(tl.int32), 1), classes - 1)
    tl.store(out + first * dims + dim, chosen.to(tl.int64), first < rows)


def choose(logits: Tensor, sizes: list[int], unimix: float, draws: Tensor) -> Tensor:
    rows, dims, total = len(logits), len(sizes), sum(sizes)
    logits, draws = logits.contiguous(), draws.contiguous()
    check((logits, (rows, total)), (draws, (rows, dims)))
    out, at = th.empty_like(draws, dtype=th.int64), 0
    for dim, classes in enumerate(sizes):
        tall, columns, n = tile(rows, classes)
        numbers = rows, total, at, dims, dim, 1 - unimix, unimix / classes
        grid = (triton.cdiv(rows, tall),)
        tensors = logits, draws, out
        launch(_choose_kernel, grid, *tensors, *numbers, classes, tall, columns, num_warps=n)
        at += classes
    return out


@triton.jit
def _divergence_kernel(
    post: tl.tensor,
    prior: tl.tensor,
    divergence: tl.tensor,
    post_entropy: tl.tensor,
    prior_entropy: tl.tensor,
    size: tl.tensor,
    turns: tl.constexpr,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((columns,), tl.float32)
    of_post = tl.zeros((columns,), tl.float32)
    of_prior = tl.zeros((columns,), tl.float32)
    for turn in range(turns):
        column = turn * columns + tl.arange(0, columns)
        place = row * size + column
        p, q = tl.load(post + place, column < size, 1.0), tl.load(prior + place, column < size, 1.0)
        log_p, log_q = tl.log(p), tl.log(q)
        total += p * (log_p - log_q)
        of_post -= p * log_p
        of_prior -= q * log_q
    tl.store(divergence + row, tl.sum(total, 0))
    tl.store(post_entropy + row, tl.sum(of_post, 0))
    tl.store(prior_entropy + row, tl.sum(of_prior, 0))


@triton.jit
def _divergence_backward_kernel(
    post: tl.tensor,
    prior: tl.tensor,
    to_dyn: tl.tensor,
    to_rep: tl.tensor,
    post_grad: tl.tensor,
    prior_grad: tl.tensor,
    size: tl.tensor,
    columns: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    place = row * size + column
    p, q = tl.load(post + place, column < size, 1.0), tl.load(prior + place, column < size, 1.0)
    for_prior = -tl.load(to_dyn + row) * (p / q)
    for_post = tl.load(to_rep + row) * (tl.log(p) - tl.log(q) + 1)
    tl.store(prior_grad + place, for_prior, column < size)
    tl.store(post_grad + place, for_post, column < size)


class Divergences(th.autograd.Function):
    """
    KL divergence of beliefs, once with the gradient of each side alone, and their entropies.

    Arguments: probabilities of posterior and prior (N, S, C). Returns, each (N,): the divergence
    with the prior's gradient, the same with the posterior's; entropies of prior and posterior.
    """

    @staticmethod
    def forward(ctx: Any, post: Tensor, prior: Tensor) -> tuple[Tensor, ...]:
        post, prior = post.contiguous(), prior.contiguous()
        shape = tuple(post.shape)
        check((post, shape), (prior, shape))
        rows, size = shape[0], post[0].numel()
        divergence, of_post, of_prior = post.new_empty(3, rows)
        columns = min(triton.next_power_of_2(size), 1024)
        sizes = size, triton.cdiv(size, columns), columns
        tensors = post, prior, divergence, of_post, of_prior
        launch(_divergence_kernel, (rows,), *tensors, *sizes, num_warps=4)
        ctx.save_for_backward(post, prior)
        ctx.mark_non_differentiable(of_prior, of_post)
        return divergence, divergence.clone(), of_prior, of_post

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_dyn: Tensor, to_rep: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        post, prior = ctx.saved_tensors
        size, out = post[0].numel(), (th.empty_like(post), th.empty_like(prior))
        columns = min(triton.next_power_of_2(size), 1024)
        grid = len(post), triton.cdiv(size, columns)
        tensors = post, prior, to_dyn.contiguous(), to_rep.contiguous(), *out
        launch(_divergence_backward_kernel, grid, *tensors, size, columns, num_warps=4)
        return out
