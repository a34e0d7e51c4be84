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

from typing import NamedTuple

import torch as th
import triton
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.filter_kernels import embed, gate, mix, project, sample
from dreamzoo.nn.fast.precision import Precision
from dreamzoo.nn.fast.tiles import lanes, options, tile
from dreamzoo.nn.fast.unroll import CoreTape, EvidenceKernels, FilterInputs, FilterTape, Kernels


class Cast(NamedTuple):
    """Weights as products of a precision read them."""

    project: Tensor  # of posterior and embedding, which read the state, (2, M, D)
    stoch_in: Tensor  # (M, S * C)
    own: Tensor  # (g, d, d)
    shared: Tensor  # (3 M, D)
    gates: Tensor  # (g, d, 3 d)
    logits: Tensor  # (S * C, M)


def cast(core: Kernels, post: EvidenceKernels, precision: Precision) -> Cast:
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
    data: FilterInputs, core_weights: Kernels, post: EvidenceKernels, precision: Precision
) -> tuple[tuple[Tensor, Tensor, Tensor], FilterTape]:
    """
    Compute what :func:`dreamzoo.nn.fast.unroll.filter_steps` does.

    :param precision: of products
    """
    steps, rows, _ = data.actions.shape
    core = CoreTape(core_weights, steps, rows)
    run = _Forward(data, core, post, precision)
    with th.cuda.device_of(data.actions):
        run.project(-1)
        for t in range(steps):
            run.embed(t)
            run.mix(t)
            run.gate(t)
            run.project(t)
            run.sample(t)
    before_deter = th.cat([run.deter[None], run.deters[:-1]]).mul_(data.keep)
    before_stoch = th.cat([run.stoch[None], run.stochs[:-1]]).flatten(2).mul_(data.keep)
    hidden = th.empty_like(run.pre_post)
    flat = core.pre.flatten(0, 1), core.inputs.flatten(0, 1), core.total.flatten(0, 1)
    kernels.norm_silu(run.pre_post.flatten(0, 1), post.scale[None], hidden.flatten(0, 1))
    kernels.norm_silu(flat[0], core_weights.in_scale, flat[1])
    core.inputs[..., core.pre.shape[-1] :] = data.actions
    by_row = kernels.norm_silu(flat[2], core_weights.hidden_scale[None], th.empty_like(flat[2]))
    core.hidden = by_row.view(steps, rows, core.blocks, -1).transpose(1, 2)
    tape = FilterTape(core, before_deter, before_stoch, run.pre_post, hidden, post, precision)
    return (run.deters, run.stochs, run.probs), tape


class _Forward:
    """
    Memory of a sequence and the five launches of a step.

    :param data: of T steps
    :param core: its memory is written
    :param post: weights of the posterior
    :param precision: of products
    """

    def __init__(
        self, data: FilterInputs, core: CoreTape, post: EvidenceKernels, precision: Precision
    ) -> None:
        self.data, self.core, self.post = data, core, post
        self.weights = cast(core.weights, post, precision)
        steps, self.rows, self.width = data.actions.shape
        _, self.latents, self.classes = data.stoch.shape
        self.deter, self.stoch = data.deter.contiguous(), data.stoch.contiguous()
        self.deters = self.deter.new_empty(steps, *self.deter.shape)
        self.stochs = self.deter.new_empty(steps, *self.stoch.shape)
        self.probs = th.empty_like(self.stochs)
        self.pre_post = th.empty_like(data.evidence)
        self.from_own = th.empty_like(self.deter)
        self.block = core.deter // core.blocks
        rows, flat = self.rows, self.latents * self.classes
        self.on_deter = tile(rows, 2 * self.width, core.deter, precision)
        self.on_own = tile(rows, core.deter, self.block, precision)
        self.on_stoch = tile(rows, 2 * self.width, flat, precision)
        self.on_inputs = tile(rows, core.deter, self.width, precision, products=3)
        self.on_hidden = tile(rows, core.deter, self.block, precision, products=3)
        self.class_lanes = triton.next_power_of_2(self.classes)
        self.on_post = tile(
            rows, self.latents * self.class_lanes, self.width, precision, least=self.class_lanes
        )
        self.width_tiles = triton.cdiv(self.width, self.on_deter.cols)
        self.deter_tiles = triton.cdiv(core.deter, self.on_inputs.cols)
        self.pre_sums = self.deter.new_empty(2, self.width_tiles, rows)
        self.post_sums = self.deter.new_empty(self.width_tiles, rows)
        self.total_sums = self.deter.new_empty(self.deter_tiles, rows)
        self.down = triton.cdiv(rows, self.on_deter.rows)
        self.last = options(precision, self.rows, data.actions.device)

    def _before(self, t: int) -> tuple[Tensor, Tensor]:
        return (self.deters[t - 1], self.stochs[t - 1]) if t else (self.deter, self.stoch)

    def project(self, t: int) -> None:
        """Multiply the state after step t, -1 for the first; step t + 1 reads most of it."""
        core, weights, post, steps = self.core, self.weights, self.on_deter, len(self.deters)
        own = core.blocks * triton.cdiv(self.block, self.on_own.cols)
        follows = t + 1 < steps
        after, now = min(t + 1, steps - 1), max(t, 0)
        # Posterior before step 0: written, never read. Programs of the step after the last: none.
        programs = 2 * self.width_tiles + own if follows else self.width_tiles
        project[(programs, self.down)](
            self._before(t + 1)[0],
            self.data.keep[after],
            self.data.evidence[now],
            weights.project,
            core.weights.deter_bias,
            weights.own,
            self.pre_post[now],
            self.post_sums,
            core.pre[after],
            self.pre_sums,
            self.from_own,
            self.rows,
            BLOCKS=core.blocks,
            WIDTH=self.block,
            EMBED=self.width,
            COLS=post.cols,
            OWN_COLS=self.on_own.cols,
            DEPTH=post.depth,
            **self.last,
            **post.options,
        )

    def embed(self, t: int) -> None:
        """Embed the stochastic state before step t."""
        tiling = self.on_stoch
        embed[(self.width_tiles, self.down)](
            self._before(t)[1],
            self.data.keep[t],
            self.weights.stoch_in,
            self.core.weights.stoch_bias,
            self.core.pre[t],
            self.pre_sums,
            self.rows,
            FLAT=self.latents * self.classes,
            EMBED=self.width,
            TILES=self.width_tiles,
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def mix(self, t: int) -> None:
        """Compute the sum of step t that the hidden layer's norm reads."""
        core, tiling = self.core, self.on_inputs
        mix[(self.deter_tiles, self.down)](
            core.pre[t],
            self.pre_sums,
            self.data.actions[t],
            self.from_own,
            core.weights.in_scale,
            self.weights.shared,
            core.weights.hidden_bias,
            core.total[t],
            self.total_sums,
            self.rows,
            DETER=core.deter,
            EMBED=self.width,
            TILES=self.width_tiles,
            LANES=lanes(self.width_tiles),
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def gate(self, t: int) -> None:
        """Advance the deterministic state."""
        core, tiling = self.core, self.on_hidden
        gate[(core.blocks * triton.cdiv(self.block, tiling.cols), self.down)](
            core.total[t],
            self.total_sums,
            core.weights.hidden_scale,
            self.weights.gates,
            core.weights.gates_bias,
            self._before(t)[0],
            self.data.keep[t],
            core.gates[t],
            self.deters[t],
            self.rows,
            BLOCKS=core.blocks,
            WIDTH=self.block,
            TILES=self.deter_tiles,
            LANES=lanes(self.deter_tiles),
            COLS=tiling.cols,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )

    def sample(self, t: int) -> None:
        """Draw the stochastic state."""
        tiling, draws = self.on_post, self.data.draws
        taken = tiling.cols // self.class_lanes
        sample[(triton.cdiv(self.latents, taken), self.down)](
            self.pre_post[t],
            self.post_sums,
            self.post.scale,
            self.weights.logits,
            self.post.logits_bias,
            self.probs if draws is None else draws[t],
            self.probs[t],
            self.stochs[t],
            self.data.unimix,
            self.rows,
            LATENTS=self.latents,
            CLASSES=self.classes,
            EMBED=self.width,
            TILES=self.width_tiles,
            LANES=lanes(self.width_tiles),
            DRAWN=draws is not None,
            TAKEN=taken,
            CLASS_LANES=self.class_lanes,
            DEPTH=tiling.depth,
            **self.last,
            **tiling.options,
        )
