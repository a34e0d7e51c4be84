"""
The way back through the recurrent filter's steps as five Triton kernels each.

See :mod:`dreamzoo.nn.fast.triton.filter`. A step is, from its results to what was before it:

    logits' = posterior's gradient of stoch'           :func:`unsample`, once stoch' is known
    into_post = logits' @ logits                       :func:`unlogit`
    gates' = gru' of evidence' @ post + what came      :func:`ungate`
    into_hidden = gates' @ gates                       :func:`unhidden`
    into_inputs, part of deter' = total' @ weights     :func:`unmix`

What each product leaves behind is the gradient of a norm's result; whoever reads it goes through
that norm itself, with the row sums that the product's tiles leave beside it. After the loop, the
gradients of all norms' inputs and scales are computed for all steps at once.
"""

from functools import partial

import torch as th
import triton
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.triton import tiles
from dreamzoo.nn.fast.triton.filter import cast
from dreamzoo.nn.fast.triton.filter_kernels_backward import filter_backward
from dreamzoo.nn.fast.triton.tiles import divide, lanes
from dreamzoo.nn.fast.unroll import FilterGrads, FilterTape


def steps_back(
    tape: FilterTape,
    keep: Tensor,
    probs: Tensor,
    unimix: float,
    grad_deters: Tensor,
    into_probs: Tensor,
) -> FilterGrads:
    """
    Compute what :func:`dreamzoo.nn.fast.unroll.steps_back` does.

    :param tape: of the same steps
    :param keep: see :class:`dreamzoo.nn.fast.unroll.FilterInputs`
    :param probs: posterior probabilities, (T, B, S, C)
    :param unimix: their uniform share
    :param grad_deters: gradient of the states, (T, B, D)
    :param into_probs: gradient of probabilities and samples together, (T, B, S * C)
    """
    core, post = tape.core, tape.post
    steps, rows, latents, classes = probs.shape
    width, block = tape.pre.shape[-1], core.deter // core.blocks
    weights = cast(core.weights, post, tape.precision)
    tiling = divide(
        rows, (core.deter, block, width), (latents, classes), tape.precision, probs.device
    )
    tiling["DEEP_GATES"] = max(tiling["DEEP_BLOCK"], min(tiling["DEEP"], lanes(3 * block)))
    logits_grad, into_post = th.empty_like(tape.before_stoch), th.empty_like(tape.pre)
    core.gates_grad, into_hidden = th.empty_like(core.gates), th.empty_like(core.total)
    into = probs.new_empty(steps + 1, rows, 2 * width)
    into[-1] = 0.0  # nothing comes from behind the last step
    rest = probs.new_zeros(rows, core.deter)
    of_width = triton.cdiv(width, tiling["NARROW"])
    with th.cuda.device_of(probs):
        run = partial(
            filter_backward[(tiling["PROGRAMS"],)],
            grad_deters.contiguous(),
            into_probs,
            tape.before_deter,
            weights.project,
            weights.stoch_in,
            core.weights.in_scale,
            weights.own,
            weights.shared,
            core.weights.hidden_scale,
            weights.gates,
            core.weights.gates_bias,
            post.scale,
            weights.logits,
            keep,
            core.pre,
            _inverse_rms(core.pre.unflatten(-1, (2, -1))),
            core.total,
            _inverse_rms(core.total),
            core.gates,
            tape.pre,
            _inverse_rms(tape.pre),
            probs,
            logits_grad,
            into_post,
            core.gates_grad,
            into_hidden,
            into,
            rest,
            probs.new_zeros(2, of_width, rows),
            probs.new_empty(of_width, rows),
            probs.new_empty(core.blocks * triton.cdiv(block, tiling["WIDE"]), rows),
            th.zeros(1, dtype=th.int32, device=probs.device),
            unimix=unimix,
            steps=steps,
            zero=0,
            count=rows,
            BLOCKS=core.blocks,
            WIDTH=block,
            EMBED=width,
            LATENTS=latents,
            CLASSES=classes,
            **tiling,
        )
        if tiles.LOOP:
            run(0, steps, ONLY=-1)
        else:
            for t in reversed(range(steps)):
                for part in range(5):
                    run(t, t + 1, ONLY=part)
    core.pre_grad, core.in_scale_grad = _norm_back(core.pre, core.weights.in_scale, into[:-1])
    scale = core.weights.hidden_scale[None]
    core.total_grad, hidden_scale_grad = _norm_back(core.total, scale, into_hidden)
    core.hidden_scale_grad = hidden_scale_grad[0]
    evidence_grad, scale_grad = _norm_back(tape.pre, post.scale[None], into_post)
    core.action_grad = core.total_grad @ core.weights.shared[2 * width :].t()
    return FilterGrads(
        deter=_first_deter(tape, rest).mul_(keep[0]),
        stoch=(core.pre_grad[0, :, width:] @ core.weights.stoch_in).mul_(keep[0]),
        logits=logits_grad,
        evidence=evidence_grad,
        scale=scale_grad[0],
    )


def _first_deter(tape: FilterTape, rest: Tensor) -> Tensor:
    """Add to the gradient of the state before the first step what its products contribute."""
    core = tape.core
    by_block = core.total_grad[0].unflatten(-1, (core.blocks, -1)).transpose(0, 1)
    own = (by_block @ core.weights.own.transpose(1, 2)).transpose(0, 1).flatten(1)
    to_deter = core.pre_grad[0, :, : tape.pre.shape[-1]]
    return rest.add_(own).addmm_(to_deter, core.weights.deter_in)


def _norm_back(x: Tensor, scale: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """
    Go back through a norm, all steps at once.

    :param x: what it read, (T, B, G * M)
    :param scale: (G, M)
    :param grad: of SiLU of the norm, (T, B, >= G * M)
    :return: gradients of x and of the scale
    """
    scale_grad = th.zeros_like(scale)
    out = kernels.norm_silu_backward(x.flatten(0, 1), scale, grad.flatten(0, 1), scale_grad)
    return out.view_as(x), scale_grad


def _inverse_rms(x: Tensor) -> Tensor:
    return th.rsqrt(x.square().mean(-1) + kernels.NORM_EPS)
