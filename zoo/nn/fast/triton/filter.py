"""
The recurrent filter's steps as five Triton kernels each, for CUDA.

A step of 16 rows is bound by the number of kernels that wait for one another, not by arithmetic.
Each kernel here is a set of small matrix products together with all that comes before and after
them, and there is one only where every column of the next product needs every column of the one
before:

    total = silu(norm(pre)) @ shared + own        :func:`mix`
    deter = gru(silu(norm(total)) @ gates)        :func:`gate`
    pre_post, pre', own' = deter @ their weights  :func:`project`, of the next step too
    stoch = sample(silu(norm(pre_post)) @ logits) :func:`sample`
    pre' = stoch @ its weights                    :func:`embed`

A program computes some columns for 16 or more rows of the batch. Row statistics that a norm needs
of all columns are left behind as a sum for every tile; whoever needs them adds these up, always
in the same order.
"""

from functools import partial
from typing import NamedTuple

import torch as th
import triton
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import Precision
from dreamzoo.nn.fast.triton import tiles
from dreamzoo.nn.fast.triton.filter_kernels import filter_forward
from dreamzoo.nn.fast.triton.tiles import divide
from dreamzoo.nn.fast.unroll import CoreTape, CoreWeights, EvidenceWeights, FilterInputs, FilterTape


class Cast(NamedTuple):
    """Weights as products of a precision read them."""

    project: Tensor  # of posterior and embedding, which read the state, (2, M, D)
    stoch_in: Tensor  # (M, S * C)
    own: Tensor  # (g, d, d)
    shared: Tensor  # (3 M, D)
    gates: Tensor  # (g, d, 3 d)
    logits: Tensor  # (S * C, M)


def cast(core: CoreWeights, post: EvidenceWeights, precision: Precision) -> Cast:
    """
    Lay all weights out once for a sequence.

    :param core: weights of the core
    :param post: of the posterior
    :param precision: of products
    """
    dtype = th.bfloat16 if precision == "bf16" else core.own.dtype
    project = core.own.new_empty(2, *post.deter.shape, dtype=dtype)
    project[0], project[1] = post.deter, core.deter_in
    weights = core.stoch_in, core.own, core.shared, core.gates, post.logits
    return Cast(project, *(x.to(dtype).contiguous() for x in weights))


def filter_steps(
    data: FilterInputs, core_weights: CoreWeights, post: EvidenceWeights, precision: Precision
) -> tuple[tuple[Tensor, Tensor, Tensor], FilterTape]:
    """
    Compute what :func:`dreamzoo.nn.fast.unroll.filter_steps` does.

    :param precision: of products
    """
    steps, rows, width = data.actions.shape
    _, latents, classes = data.stoch.shape
    core = CoreTape(core_weights, steps, rows)
    weights = cast(core_weights, post, precision)
    deters, stochs = (x.new_empty(steps + 1, *x.shape) for x in (data.deter, data.stoch))
    deters[0], stochs[0] = data.deter, data.stoch
    probs, pre_post = th.empty_like(stochs[1:]), th.empty_like(data.evidence)
    flat = core.total.flatten(0, 1)
    from_action = core_weights.shared[2 * width :]
    th.addmm(core_weights.hidden_bias, data.actions.flatten(0, 1), from_action, out=flat)
    block = core.deter // core.blocks
    sizes = (core.deter, block, width), (latents, classes)
    tiling = divide(rows, *sizes, precision, deters.device)
    with th.cuda.device_of(deters):
        run = partial(
            filter_forward[(tiling["PROGRAMS"],)],
            data.keep,
            data.evidence,
            probs if data.draws is None else data.draws,
            weights.project,
            core_weights.deter_bias,
            weights.stoch_in,
            core_weights.stoch_bias,
            core_weights.in_scale,
            weights.own,
            weights.shared,
            core_weights.hidden_scale,
            weights.gates,
            core_weights.gates_bias,
            post.scale,
            weights.logits,
            post.logits_bias,
            core.pre,
            core.total,
            core.gates,
            deters,
            pre_post,
            probs,
            stochs,
            deters.new_empty(2, triton.cdiv(width, tiling["NARROW"]), rows),
            deters.new_empty(triton.cdiv(width, tiling["NARROW"]), rows),
            deters.new_empty(core.blocks * triton.cdiv(block, tiling["WIDE"]), rows),
            th.zeros(1, dtype=th.int32, device=deters.device),
            unimix=data.unimix,
            steps=steps,
            zero=0,
            count=rows,
            BLOCKS=core.blocks,
            WIDTH=block,
            EMBED=width,
            LATENTS=latents,
            CLASSES=classes,
            DRAWN=data.draws is not None,
            **tiling,
        )
        if tiles.LOOP:
            run(0, steps, ONLY=-1)
        else:
            run(-1, 0, ONLY=3)
            for t in range(steps):
                for part in range(5):
                    run(t, t + 1, ONLY=part)
    hidden = th.empty_like(pre_post)
    kernels.norm_silu(pre_post.flatten(0, 1), post.scale[None], hidden.flatten(0, 1))
    inputs = core.inputs.flatten(0, 1)
    kernels.norm_silu(core.pre.flatten(0, 1), core_weights.in_scale, inputs)
    core.inputs[..., 2 * width :] = data.actions
    by_row = kernels.norm_silu(flat, core_weights.hidden_scale[None], th.empty_like(flat))
    core.hidden = by_row.view(steps, rows, core.blocks, block).transpose(1, 2)
    before = deters[:-1] * data.keep, stochs[:-1].flatten(2) * data.keep
    tape = FilterTape(core, *before, pre_post, hidden, post, precision)
    return (deters[1:], stochs[1:], probs), tape
