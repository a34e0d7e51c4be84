"""
The way back through the recurrent filter's steps as five Triton kernels each.

See :mod:`dreamzoo.nn.fast.filter_triton`. A step is, from its results to what was before it:

    logits' = posterior's gradient of stoch'           :func:`unsample`, once stoch' is known
    into_post = logits' @ logits                       :func:`unlogit`
    gates' = gru' of evidence' @ post + what came      :func:`ungate`
    into_hidden = gates' @ gates                       :func:`unhidden`
    into_inputs, part of deter' = total' @ weights     :func:`unmix`

What each product leaves behind is the gradient of a norm's result; whoever reads it goes through
that norm itself, with the row sums that the product's tiles leave beside it. After the loop, the
gradients of all norms' inputs and scales are computed for all steps at once.
"""

import torch as th
import triton
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.filter_kernels_backward import ungate, unhidden, unlogit, unmix, unsample
from dreamzoo.nn.fast.filter_triton import cast
from dreamzoo.nn.fast.precision import Precision
from dreamzoo.nn.fast.tiles import lanes, options, tile
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
    run = _Backward(tape, keep, probs, unimix, grad_deters, into_probs)
    with th.cuda.device_of(probs):
        for t in reversed(range(len(probs))):
            run.unsample(t)
            run.unlogit(t)
            run.ungate(t)
            run.unhidden(t)
            run.unmix(t)
    core.gates_grad, core.action_grad = run.gates_grad, run.into[:-1, :, core.pre.shape[-1] :]
    core.pre_grad, in_scale_grad = _norm_back(core.pre, core.weights.in_scale, run.into[:-1])
    scale = core.weights.hidden_scale[None]
    core.total_grad, hidden_scale_grad = _norm_back(core.total, scale, run.into_hidden)
    core.in_scale_grad, core.hidden_scale_grad = in_scale_grad, hidden_scale_grad[0]
    evidence_grad, scale_grad = _norm_back(tape.pre, post.scale[None], run.into_post)
    to_deter, to_stoch = core.pre_grad[0].chunk(2, dim=-1)
    return FilterGrads(
        deter=run.rest.addmm_(to_deter, core.weights.deter_in).mul_(keep[0]),
        stoch=(to_stoch @ core.weights.stoch_in).mul_(keep[0]),
        logits=run.logits_grad,
        evidence=evidence_grad,
        scale=scale_grad[0],
    )


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


class _Backward:
    """
    Memory of a sequence's gradients and the five launches of a step.

    Parameters are those of :func:`steps_back`.
    """

    def __init__(
        self,
        tape: FilterTape,
        keep: Tensor,
        probs: Tensor,
        unimix: float,
        grad_deters: Tensor,
        into_probs: Tensor,
    ) -> None:
        self.tape, self.keep, self.probs, self.unimix = tape, keep, probs, unimix
        self.grad_deters, self.into_probs = grad_deters.contiguous(), into_probs
        core, precision = tape.core, tape.precision
        self.weights = cast(core.weights, tape.post, precision)
        steps, self.rows, self.latents, self.classes = probs.shape
        self.width, self.block = tape.pre.shape[-1], core.deter // core.blocks
        self.logits_grad = th.empty_like(tape.before_stoch)
        self.into_post = th.empty_like(tape.pre)
        self.gates_grad = th.empty_like(core.gates)
        self.into_hidden = th.empty_like(core.total)
        self.into = probs.new_empty(steps + 1, self.rows, 3 * self.width)
        self.rest = probs.new_zeros(self.rows, core.deter)
        self.into[-1] = 0.0  # nothing comes from behind the last step
        self.inverse = _inverse_rms(core.pre.unflatten(-1, (2, -1)))  # (T, B, 2)
        self.post_inverse, self.total_inverse = _inverse_rms(tape.pre), _inverse_rms(core.total)
        self._divide(precision)

    def _divide(self, precision: Precision) -> None:
        core, rows, width = self.tape.core, self.rows, self.width
        flat = self.latents * self.classes
        self.class_lanes = triton.next_power_of_2(self.classes)
        padded = self.latents * self.class_lanes
        self.on_pre = tile(rows, padded, width, precision, least=self.class_lanes)
        self.on_logits = tile(rows, 3 * width, flat, precision)
        self.on_widths = tile(rows, core.deter, width, precision, products=2)
        self.on_gates = tile(rows, core.deter, 3 * self.block, precision)
        self.on_total = tile(rows, 3 * width, core.deter, precision)
        self.on_own = tile(rows, core.deter, self.block, precision)
        self.width_tiles = triton.cdiv(width, self.on_total.cols)
        self.hidden_tiles = core.blocks * triton.cdiv(self.block, self.on_gates.cols)
        self.sums = self.probs.new_zeros(3, self.width_tiles, rows)
        self.post_sums = self.probs.new_empty(self.width_tiles, rows)
        self.hidden_sums = self.probs.new_empty(self.hidden_tiles, rows)
        self.down = triton.cdiv(rows, self.on_total.rows)
        self.last = options(precision, self.rows, self.probs.device)

    def unsample(self, t: int) -> None:
        """Gradient of step t's logits."""
        core, tiling = self.tape.core, self.on_pre
        after = min(t + 1, len(self.probs) - 1)
        taken = tiling.cols // self.class_lanes
        unsample[(triton.cdiv(self.latents, taken), self.down)](
            self.into[t + 1],
            self.sums[1],
            core.pre[after],
            self.inverse[after],
            core.weights.in_scale,
            self.weights.stoch_in,
            self.keep[after],
            self.probs[t],
            self.into_probs[t],
            self.logits_grad[t],
            self.unimix,
            self.rows,
            LATENTS=self.latents,
            CLASSES=self.classes,
            EMBED=self.width,
            TILES=self.width_tiles,
            LANES=lanes(self.width_tiles),
            TAKEN=taken,
            CLASS_LANES=self.class_lanes,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def unlogit(self, t: int) -> None:
        """Gradient of the posterior's hidden layer."""
        tape, tiling = self.tape, self.on_logits
        unlogit[(self.width_tiles, self.down)](
            self.logits_grad[t],
            self.weights.logits,
            tape.pre[t],
            self.post_inverse[t],
            tape.post.scale,
            self.into_post[t],
            self.post_sums,
            self.rows,
            FLAT=self.latents * self.classes,
            EMBED=self.width,
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def ungate(self, t: int) -> None:
        """Gradient of the state after step t, and of the gates."""
        tape, core, tiling = self.tape, self.tape.core, self.on_widths
        after = min(t + 1, len(self.probs) - 1)
        ungate[(core.blocks * triton.cdiv(self.block, tiling.cols), self.down)](
            self.into_post[t],
            self.post_sums,
            tape.pre[t],
            self.post_inverse[t],
            tape.post.scale,
            self.into[t + 1],
            self.sums,
            core.pre[after],
            self.inverse[after],
            core.weights.in_scale,
            self.weights.project,
            self.keep[after],
            self.grad_deters[t],
            core.gates[t],
            core.weights.gates_bias,
            tape.before_deter[t],
            self.rest,
            self.gates_grad[t],
            self.rows,
            BLOCKS=core.blocks,
            WIDTH=self.block,
            EMBED=self.width,
            TILES=self.width_tiles,
            LANES=lanes(self.width_tiles),
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def unhidden(self, t: int) -> None:
        """Gradient of the core's hidden layer."""
        core, tiling = self.tape.core, self.on_gates
        unhidden[(self.hidden_tiles, self.down)](
            self.gates_grad[t],
            self.weights.gates,
            core.total[t],
            self.total_inverse[t],
            core.weights.hidden_scale,
            self.into_hidden[t],
            self.hidden_sums,
            self.rows,
            BLOCKS=core.blocks,
            WIDTH=self.block,
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def unmix(self, t: int) -> None:
        """Gradients of the embeddings, and of the state before by its block's own weights."""
        core, tiling = self.tape.core, self.on_total
        own = core.blocks * triton.cdiv(self.block, self.on_own.cols)
        unmix[(3 * self.width_tiles + own, self.down)](
            self.into_hidden[t],
            self.hidden_sums,
            core.total[t],
            self.total_inverse[t],
            core.weights.hidden_scale,
            self.weights.shared,
            self.weights.own,
            core.pre[t],
            self.inverse[t],
            core.weights.in_scale,
            self.into[t],
            self.sums,
            self.rest,
            self.rows,
            BLOCKS=core.blocks,
            WIDTH=self.block,
            EMBED=self.width,
            HIDDEN_TILES=self.hidden_tiles,
            HIDDEN_LANES=lanes(self.hidden_tiles),
            COLS=tiling.cols,
            OWN_COLS=self.on_own.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )
