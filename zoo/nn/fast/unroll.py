"""
The recurrent filter over a sequence with its gradient written by hand.

Autograd's own walk through 64 steps of a small network is bound by the number of operations, not
by arithmetic. Here every step writes what the backward pass needs into tensors that hold the
whole sequence, the backward loop carries only the gradient of the state, and every weight
gradient is one product over all steps at the end.
"""

from typing import Any, NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.nn.fast import kernels, products
from dreamzoo.nn.fast.precision import Precision, current
from dreamzoo.nn.fast.tapes import Layer, StackTape


class CoreWeights(NamedTuple):
    """
    Weights of the recurrent core as its steps read them; made once for a sequence.

    g blocks of width d = D / g, embeddings of width M, S latents of C classes.
    """

    deter_in: Tensor  # (M, D)
    deter_bias: Tensor  # (M,)
    stoch_in: Tensor  # (M, S * C)
    stoch_bias: Tensor  # (M,)
    in_scale: Tensor  # (2, M), of the norms of both embeddings
    own: Tensor  # (g, d, d)
    shared: Tensor  # (3 M, D)
    hidden_bias: Tensor  # (D,)
    hidden_scale: Tensor  # (D,)
    gates: Tensor  # (g, d, 3 d)
    gates_bias: Tensor  # (g, 3 d), the -1 of the update gate included

    def prepared(self, rows: int, steps: int) -> "CoreWeights":
        """Round what so many steps multiply with so many rows each, if that is worth while."""
        if current() != "bf16":
            return self
        names = ("deter_in", "stoch_in", "own", "shared", "gates")
        parts = {name: products.prepared(getattr(self, name), rows, steps) for name in names}
        return self._replace(**parts)


class EvidenceWeights(NamedTuple):
    """Weights between the next deterministic state and the posterior's logits."""

    deter: Tensor  # (M, D)
    scale: Tensor  # (M,)
    logits: Tensor  # (S * C, M)
    logits_bias: Tensor  # (S * C,)


class CoreTape:
    """
    One step of the block GRU after the other, and back.

    :param weights: of the core, without a graph
    :param steps: T; steps that overwrite each other may share index 0 if no gradient is wanted
    :param rows: B
    """

    def __init__(self, weights: CoreWeights, steps: int, rows: int) -> None:
        self.weights = weights.prepared(rows, steps)
        like, (self.blocks, width, _) = weights.own, weights.own.shape
        embed, self.deter = weights.deter_in.shape
        lead = (steps, rows)
        self.pre = like.new_empty(*lead, 2 * embed)  # of both embeddings
        self.inputs = like.new_empty(*lead, 3 * embed)
        self.total = like.new_empty(*lead, self.deter)  # before the norm
        self.hidden = like.new_empty(steps, self.blocks, rows, width)
        self.gates = like.new_empty(steps, self.blocks, rows, 3 * width)

    def _by_block(self, x: Tensor) -> Tensor:
        """View (B, D) as (g, B, d)."""
        return x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)

    def forward(
        self, t: int, deter: Tensor, stoch: Tensor, action: Tensor | None, out: Tensor
    ) -> None:
        """
        Advance the deterministic state.

        :param deter: (B, >= D); the first D columns are the state
        :param stoch: (B, S * C)
        :param action: embedded action (B, M); None if it is among the step's inputs already
        :param out: next state, its first D columns are written, (B, >= D)
        """
        k, pre, inputs, embed = (
            self.weights,
            self.pre[t],
            self.inputs[t],
            len(self.weights.deter_in),
        )
        before = deter[:, : self.deter]
        if k.own.dtype is not before.dtype:
            before = before.to(k.own.dtype)  # rounded once for two products
        products.addmm(k.deter_bias, before, k.deter_in.t(), out=pre[:, :embed])
        products.addmm(k.stoch_bias, stoch, k.stoch_in.t(), out=pre[:, embed:])
        kernels.norm_silu(pre, k.in_scale, inputs)
        if action is not None:
            inputs[:, 2 * embed :] = action
        total, hidden, gates = self.total[t], self.hidden[t], self.gates[t]
        products.addmm(k.hidden_bias, inputs, k.shared, out=total)
        own = products.bmm(self._by_block(before), k.own)
        kernels.block_norm_silu(total, own, k.hidden_scale, hidden)
        products.bmm(hidden, k.gates, out=gates)
        kernels.gru(gates, k.gates_bias, deter, out)

    def start_backward(self) -> None:
        """Make room for gradients."""
        self.pre_grad = th.empty_like(self.pre)
        self.total_grad = th.empty_like(self.total)
        self.gates_grad = th.empty_like(self.gates)
        self.in_scale_grad = th.zeros_like(self.weights.in_scale)
        self.hidden_scale_grad = th.zeros_like(self.weights.hidden_scale)
        self.action_grad = self.inputs.new_empty(*self.inputs.shape[:2], self.pre.shape[2] // 2)

    def backward(self, t: int, deter: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """
        Go back through step t.

        :param deter: state before the step, (B, D)
        :param grad: of the state after it, (B, D)
        :return: gradients of deterministic and stochastic state before the step
        """
        k, total_grad, gates_grad = self.weights, self.total_grad[t], self.gates_grad[t]
        deter_grad = kernels.gru_backward(self.gates[t], k.gates_bias, deter, grad, gates_grad)
        into = products.bmm(gates_grad, k.gates.transpose(1, 2))
        kernels.block_norm_silu_backward(
            self.total[t], k.hidden_scale, into, total_grad, self.hidden_scale_grad
        )
        own_grad = products.bmm(self._by_block(total_grad), k.own.transpose(1, 2))
        self._by_block(deter_grad).add_(own_grad)
        into = products.mm(total_grad, k.shared.t())
        embed = len(k.deter_in)
        self.action_grad[t] = into[:, 2 * embed :]
        pre_grad = kernels.norm_silu_backward(self.pre[t], k.in_scale, into, self.in_scale_grad)
        self.pre_grad[t] = pre_grad
        products.addmm_(deter_grad, pre_grad[:, :embed], k.deter_in)
        return deter_grad, products.mm(pre_grad[:, embed:], k.stoch_in)

    def weight_grads(self, deter: Tensor, stoch: Tensor) -> CoreWeights:
        """
        Sum the gradients of the weights over all steps.

        :param deter: states before the steps, (T, B, D)
        :param stoch: the same, (T, B, S * C)
        """

        def by_block(x: Tensor) -> Tensor:
            return self._by_block(x.flatten(0, 1))  # (g, T * B, d)

        pre = self.pre_grad.flatten(0, 1).unflatten(1, (2, -1))  # (T * B, 2, M)
        total = self.total_grad.flatten(0, 1)
        gates = self.gates_grad.transpose(0, 1).flatten(1, 2)
        hidden = self.hidden.transpose(0, 1).flatten(1, 2)  # (g, T * B, d)
        return CoreWeights(
            deter_in=products.mm(pre[:, 0].t(), deter.flatten(0, 1)),
            deter_bias=pre[:, 0].sum(0),
            stoch_in=products.mm(pre[:, 1].t(), stoch.flatten(0, 1)),
            stoch_bias=pre[:, 1].sum(0),
            in_scale=self.in_scale_grad,
            own=products.bmm(by_block(deter).transpose(1, 2), by_block(self.total_grad)),
            shared=products.mm(self.inputs.flatten(0, 1).t(), total),
            hidden_bias=total.sum(0),
            hidden_scale=self.hidden_scale_grad,
            gates=products.bmm(hidden.transpose(1, 2), gates),
            gates_bias=gates.sum(1),
        )


class FilterInputs(NamedTuple):
    """What a filtered sequence depends on beside the weights; time first."""

    deter: Tensor  # state before the first step, (B, D)
    stoch: Tensor  # the same, (B, S, C)
    keep: Tensor  # 0 where an episode starts, whose state before is zero; else 1, (T, B, 1)
    actions: Tensor  # embedded, (T, B, M)
    evidence: Tensor  # the observation's part of the posterior's hidden layer, with bias, (T, B, M)
    draws: Tensor | None  # uniform random numbers, (T, B, S); None takes the most likely class
    unimix: float  # uniform share of the posterior


class FilterTape(NamedTuple):
    """What :func:`filter_steps` leaves behind beside its results, for the way back."""

    core: CoreTape
    before_deter: Tensor  # state before every step, (T, B, D)
    before_stoch: Tensor  # the same, (T, B, S * C)
    pre: Tensor  # the posterior's hidden layer before the norm, (T, B, M)
    hidden: Tensor  # and after it
    post: EvidenceWeights
    precision: Precision  # of products


class FilterGrads(NamedTuple):
    """What :func:`steps_back` leaves behind beside the gradients in the core's tape."""

    deter: Tensor  # of the state before the first step, (B, D)
    stoch: Tensor  # the same, (B, S * C)
    logits: Tensor  # of the posterior, (T, B, S * C)
    evidence: Tensor  # (T, B, M)
    scale: Tensor  # of the posterior's norm, (M,)


#: Memory that a multiprocessor must have for kernels to share, bytes.
SHARED = 210_000


def is_fused(actions: Tensor) -> bool:
    """
    Return whether a sequence goes through kernels that fuse its products with what is around them.

    They pay off inside a graph of many steps.

    :param actions: (T, B, M)
    """
    if len(actions) < 2 or not kernels.uses_triton(actions):
        return False
    if not actions.is_cuda:  # Triton's interpreter
        return True
    device = th.cuda.get_device_properties(actions.device)
    return getattr(device, "shared_memory_per_block_optin", 0) >= SHARED


def filter_steps(
    data: FilterInputs, core_weights: CoreWeights, post: EvidenceWeights
) -> tuple[tuple[Tensor, Tensor, Tensor], FilterTape]:
    """
    Filter a sequence: core, evidence, posterior, sample, T times. Nothing here has a graph.

    :param data: of T steps
    :param core_weights: of the core, without a graph
    :param post: of the posterior, without a graph
    :return: deter (T, B, D), stoch (T, B, S, C), posterior probabilities (T, B, S, C); the tape
    """
    if is_fused(data.actions):
        from dreamzoo.nn.fast.triton import filter as filter_triton

        return filter_triton.filter_steps(data, core_weights, post, current())
    deter, stoch, keep, actions, evidence, draws, unimix = data
    steps, rows, _ = actions.shape
    _, latents, classes = stoch.shape
    core = CoreTape(core_weights, steps, rows)
    post_deter = products.prepared(post.deter, rows, steps)
    before_deter = deter.new_empty(steps, *deter.shape)
    before_stoch = deter.new_empty(steps, rows, latents * classes)
    deters = th.empty_like(before_deter)
    stochs = deter.new_empty(steps, *stoch.shape)
    probs = th.empty_like(stochs)
    pre, hidden = th.empty_like(evidence), th.empty_like(evidence)
    scale = post.scale[None]
    for t in range(steps):
        th.mul(deter, keep[t], out=before_deter[t])
        th.mul(stoch.flatten(1), keep[t], out=before_stoch[t])
        deter, stoch = deters[t], stochs[t]
        core.forward(t, before_deter[t], before_stoch[t], actions[t], deter)
        products.addmm(evidence[t], deter, post_deter.t(), out=pre[t])
        kernels.norm_silu(pre[t], scale, hidden[t])
        logits = th.addmm(post.logits_bias, hidden[t], post.logits.t()).view_as(stoch)
        draw = None if draws is None else draws[t]
        kernels.sample_mixed(logits, unimix, draw, probs[t], stoch.flatten(1))
    post = post._replace(deter=post_deter)  # rounded once for the way back, too
    tape = FilterTape(core, before_deter, before_stoch, pre, hidden, post, current())
    return (deters, stochs, probs), tape


class Unroll(th.autograd.Function):
    """
    :func:`filter_steps` with its gradient; that of a sample is that of its probabilities.

    Arguments are all of :class:`FilterInputs`, :class:`CoreWeights` and :class:`EvidenceWeights`.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        first, second = len(FilterInputs._fields), -len(EvidenceWeights._fields)
        data = FilterInputs(*arguments[:first])
        core = CoreWeights(*(x.detach() for x in arguments[first:second]))
        post = EvidenceWeights(*(x.detach() for x in arguments[second:]))
        outputs, ctx.tape = filter_steps(data, core, post)
        ctx.unimix = data.unimix
        ctx.save_for_backward(data.keep, outputs[0], outputs[2])
        return outputs

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_deters: Tensor, grad_stochs: Tensor, grad_probs: Tensor
    ) -> tuple[Tensor | None, ...]:
        core, before_deter, before_stoch, _, hidden, _, _ = ctx.tape
        keep, deters, probs = ctx.saved_tensors
        # Straight through: the sample's gradient is that of its probabilities.
        # Gradients come as (B, T, ...), whose steps lie apart.
        into_probs = (grad_stochs + grad_probs).flatten(2).contiguous()
        if is_fused(hidden):
            from dreamzoo.nn.fast.triton import filter_backward as filter_triton_backward

            back = filter_triton_backward.steps_back
        else:
            back = steps_back
        grads = back(ctx.tape, keep, probs, ctx.unimix, grad_deters, into_probs)
        flat = grads.logits.flatten(0, 1)
        post_grads = EvidenceWeights(
            deter=products.mm(grads.evidence.flatten(0, 1).t(), deters.flatten(0, 1)),
            scale=grads.scale,
            logits=products.mm(flat.t(), hidden.flatten(0, 1)),
            logits_bias=flat.sum(0),
        )
        return (
            grads.deter,
            grads.stoch.unflatten(1, probs.shape[2:]),
            None,
            core.action_grad,
            grads.evidence,
            None,
            None,
            *core.weight_grads(before_deter, before_stoch),
            *post_grads,
        )


def steps_back(
    tape: FilterTape,
    keep: Tensor,
    probs: Tensor,
    unimix: float,
    grad_deters: Tensor,
    into_probs: Tensor,
) -> FilterGrads:
    """
    Go back through all steps; gradients of the core's layers are left in its tape.

    :param tape: of the same steps
    :param keep: see :class:`FilterInputs`
    :param probs: posterior probabilities, (T, B, S, C)
    :param unimix: their uniform share
    :param grad_deters: gradient of the states, (T, B, D)
    :param into_probs: gradient of probabilities and samples together, overwritten, (T, B, S * C)
    """
    core, before_deter, before_stoch, pre, hidden, post, _ = tape
    steps, rows, latents, classes = probs.shape
    logits_grad = th.empty_like(before_stoch)
    evidence_grad = th.empty_like(hidden)
    scale, scale_grad = post.scale.detach()[None], th.zeros_like(post.scale)
    to_deter = grad_deters.new_zeros(rows, grad_deters.shape[-1])
    to_stoch = grad_deters.new_zeros(rows, latents * classes)
    core.start_backward()
    for t in reversed(range(steps)):
        into = into_probs[t].add_(to_stoch).view(rows, latents, classes)
        kernels.mixed_backward(probs[t], unimix, into, logits_grad[t].view_as(into))
        into = logits_grad[t] @ post.logits
        into = kernels.norm_silu_backward(pre[t], scale, into, scale_grad[None])
        evidence_grad[t] = into
        products.addmm_(to_deter.add_(grad_deters[t]), into, post.deter)
        to_deter, to_stoch = core.backward(t, before_deter[t], to_deter)
        to_deter.mul_(keep[t])
        to_stoch.mul_(keep[t])
    return FilterGrads(to_deter, to_stoch, logits_grad, evidence_grad, scale_grad)


class Imagination:
    """
    Steps of the prior without a graph, in memory that all of them share.

    :param weights: of the core
    :param action_in: embedding of actions
    :param prior: hidden layers of the prior
    :param logits: weight and bias of its logits
    :param rows: N
    :param classes: C
    :param unimix: uniform share of the prior
    """

    def __init__(
        self,
        weights: CoreWeights,
        action_in: Layer,
        prior: list[Layer],
        logits: tuple[Tensor, Tensor],
        rows: int,
        classes: int,
        unimix: float,
    ) -> None:
        self.core = CoreTape(weights, 1, rows)
        self.action_in = tuple(x.detach() for x in action_in)
        self.prior = StackTape(prior, rows)
        self.weight, self.bias = (x.detach() for x in logits)
        self.unimix = unimix
        self.logits = self.weight.new_empty(rows, len(self.bias) // classes, classes)
        self.probs = th.empty_like(self.logits)

    def step(self, feat: Tensor, action: Tensor, draws: Tensor | None, out: Tensor) -> Tensor:
        """
        Predict the next state.

        :param feat: state, h and z side by side, (N, D + S * C)
        :param action: encoded action, (N, A)
        :param draws: uniform random numbers, (N, S); None takes the most likely class
        :param out: next state, written, (N, D + S * C)
        """
        width = self.core.deter
        self.prior.pieces.clear()  # nobody will ask for gradients
        weight, bias, scale = self.action_in
        inputs = self.core.inputs[0]
        pre = products.addmm(bias, kernels.limited(action), weight.t())
        kernels.norm_silu(pre, scale[None], inputs, at=2 * len(bias))
        self.core.forward(0, feat, feat[:, width:], None, out)
        hidden = self.prior.forward(out[:, :width])
        th.addmm(self.bias, hidden, self.weight.t(), out=self.logits.flatten(1))
        kernels.sample_mixed(self.logits, self.unimix, draws, self.probs, out, at=width)
        return out
