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

from dreamzoo.nn.distributions import mix_uniform, one_hot_sample
from dreamzoo.nn.tapes import Layer, NormSilu, StackTape


class Kernels(NamedTuple):
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
    gates_bias: Tensor  # (g, 1, 3 d), the -1 of the update gate included


class EvidenceKernels(NamedTuple):
    """Weights between the next deterministic state and the posterior's logits."""

    deter: Tensor  # (M, D)
    scale: Tensor  # (M,)
    logits: Tensor  # (S * C, M)
    logits_bias: Tensor  # (S * C,)


class CoreTape:
    """
    One step of the block GRU after the other, and back.

    :param kernels: weights
    :param steps: T; steps that overwrite each other may share index 0 if no gradient is wanted
    :param rows: B
    """

    def __init__(self, kernels: Kernels, steps: int, rows: int) -> None:
        self.kernels = kernels
        like, (self.blocks, width, _) = kernels.own, kernels.own.shape
        deter, embed = kernels.deter_in.shape[1], kernels.deter_in.shape[0]
        lead = (steps, rows)
        self.pre = like.new_empty(rows, 2, embed)
        self.embedded = NormSilu(like, (*lead, 2, embed), kernels.in_scale)
        self.inputs = like.new_empty(*lead, 3, embed)
        self.hidden_norm = NormSilu(like, (*lead, deter), kernels.hidden_scale)
        self.hidden = like.new_empty(*lead, deter)
        by_block = (steps, self.blocks, rows, width)
        self.gates = like.new_empty(*by_block[:-1], 3 * width)
        self.reset = like.new_empty(by_block)
        self.candidate = like.new_empty(by_block)
        self.update = like.new_empty(by_block)

    def _by_block(self, x: Tensor) -> Tensor:
        """View (B, D) as (g, B, d)."""
        return x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)

    def forward(self, t: int, deter: Tensor, stoch: Tensor, action: Tensor, out: Tensor) -> Tensor:
        """
        Advance the deterministic state.

        :param deter: (B, D)
        :param stoch: (B, S * C)
        :param action: embedded action (B, M)
        :param out: next state, written, (B, D)
        """
        k = self.kernels
        inputs = self.inputs[t]
        th.addmm(k.deter_bias, deter, k.deter_in.t(), out=self.pre[:, 0])
        th.addmm(k.stoch_bias, stoch, k.stoch_in.t(), out=self.pre[:, 1])
        self.embedded.forward(t, self.pre, inputs[:, :2])
        inputs[:, 2] = action
        hidden = th.addmm(k.hidden_bias, inputs.flatten(1), k.shared, out=self.hidden[t])
        blocks = self._by_block(deter)
        self._by_block(hidden).add_(th.bmm(blocks, k.own))
        self.hidden_norm.forward(t, hidden, hidden)
        gates = th.baddbmm(k.gates_bias, self._by_block(hidden), k.gates, out=self.gates[t])
        reset, candidate, update = gates.chunk(3, dim=-1)
        reset = th.sigmoid(reset, out=self.reset[t])
        update = th.sigmoid(update, out=self.update[t])
        # tanh(x) = 2 sigmoid(2 x) - 1; torch's tanh takes four times as long on a CPU.
        candidate = th.mul(reset, candidate, out=self.candidate[t])
        candidate.mul_(2).sigmoid_().mul_(2).sub_(1)
        th.lerp(blocks, candidate, update, out=self._by_block(out))
        return out

    def backward(self, t: int, deter: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """
        Go back through step t.

        :param deter: state before the step, (B, D)
        :param grad: of the state after it, (B, D)
        :return: gradients of deterministic and stochastic state before the step
        """
        if t == len(self.inputs) - 1:
            self.gates_grad = th.empty_like(self.gates)
            self.hidden_grad = th.empty_like(self.hidden)
            self.inputs_grad = th.empty_like(self.inputs)
            self.pre_grad = th.empty_like(self.inputs[:, :, :2])
        k = self.kernels
        aten = th.ops.aten
        reset, candidate, update = self.reset[t], self.candidate[t], self.update[t]
        before = self.gates[t].chunk(3, dim=-1)[1]
        for_reset, for_candidate, for_update = self.gates_grad[t].chunk(3, dim=-1)
        after = self._by_block(grad)
        aten.sigmoid_backward.grad_input(
            after * (candidate - self._by_block(deter)), update, grad_input=for_update
        )
        taken = after * update
        into = aten.tanh_backward(taken, candidate)
        th.mul(into, reset, out=for_candidate)
        aten.sigmoid_backward.grad_input(into * before, reset, grad_input=for_reset)

        into = th.bmm(self.gates_grad[t], k.gates.transpose(1, 2)).transpose(0, 1).flatten(1)
        into = self.hidden_norm.backward(t, into, self.hidden_grad[t])
        by_own = th.bmm(self._by_block(into), k.own.transpose(1, 2))
        deter_grad = (after - taken).add_(by_own).transpose(0, 1).flatten(1)
        th.mm(into, k.shared.t(), out=self.inputs_grad[t].view(len(into), -1))
        into = self.embedded.backward(t, self.inputs_grad[t, :, :2], self.pre_grad[t])
        return deter_grad.addmm_(into[:, 0], k.deter_in), into[:, 1] @ k.stoch_in

    def kernel_grads(self, deter: Tensor, stoch: Tensor) -> Kernels:
        """
        Sum the gradients of the weights over all steps.

        :param deter: states before the steps, (T, B, D)
        :param stoch: the same, (T, B, S * C)
        """
        g = self.blocks

        def by_block(x: Tensor) -> Tensor:
            return x.flatten(0, 1).unflatten(-1, (g, -1)).transpose(0, 1)  # (g, T * B, d)

        pre = self.pre_grad.flatten(0, 1)  # (T * B, 2, M)
        hidden = self.hidden_grad.flatten(0, 1)
        gates = self.gates_grad.transpose(0, 1).flatten(1, 2)
        return Kernels(
            deter_in=pre[:, 0].t() @ deter.flatten(0, 1),
            deter_bias=pre[:, 0].sum(0),
            stoch_in=pre[:, 1].t() @ stoch.flatten(0, 1),
            stoch_bias=pre[:, 1].sum(0),
            in_scale=self.embedded.scale_grad(),
            own=by_block(deter).transpose(1, 2) @ by_block(self.hidden_grad),
            shared=self.inputs.flatten(0, 1).flatten(1).t() @ hidden,
            hidden_bias=hidden.sum(0),
            hidden_scale=self.hidden_norm.scale_grad(),
            gates=by_block(self.hidden).transpose(1, 2) @ gates,
            gates_bias=gates.sum(1, keepdim=True),
        )


class Unroll(th.autograd.Function):
    """
    Filter a sequence: core, evidence, posterior, straight-through sample, T times.

    Sequences have the time axis first. Arguments of :meth:`forward`:

    - deter, stoch: state before the first step, (B, D) and (B, S, C)
    - keep: 0 where an episode starts, whose state before is zero; else 1, (T, B, 1)
    - actions: embedded actions, (T, B, M)
    - evidence: the observation's part of the posterior's hidden layer, bias included, (T, B, M)
    - draws: uniform random numbers, (T, B, S, 1); None takes the most likely class
    - unimix: uniform share of the posterior
    - weights: all of :class:`Kernels`, then all of :class:`EvidenceKernels`

    Returns deter (T, B, D), stoch (T, B, S, C), posterior probabilities (T, B, S, C).
    """

    @staticmethod
    def forward(
        ctx: Any,
        deter: Tensor,
        stoch: Tensor,
        keep: Tensor,
        actions: Tensor,
        evidence: Tensor,
        draws: Tensor | None,
        unimix: float,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernels = Kernels(*weights[: len(Kernels._fields)])
        post = EvidenceKernels(*weights[len(Kernels._fields) :])
        steps, rows, _ = actions.shape
        _, latents, classes = stoch.shape
        core = CoreTape(kernels, steps, rows)
        before_deter = deter.new_empty(steps, *deter.shape)
        before_stoch = deter.new_empty(steps, rows, latents * classes)
        deters = th.empty_like(before_deter)
        stochs = deter.new_empty(steps, *stoch.shape)
        probs = th.empty_like(stochs)
        norm = NormSilu(deter, tuple(evidence.shape), post.scale)
        hidden = th.empty_like(evidence)
        for t in range(steps):
            th.mul(deter, keep[t], out=before_deter[t])
            th.mul(stoch.flatten(1), keep[t], out=before_stoch[t])
            deter = core.forward(t, before_deter[t], before_stoch[t], actions[t], deters[t])
            th.addmm(evidence[t], deter, post.deter.t(), out=hidden[t])
            norm.forward(t, hidden[t], hidden[t])
            logits = th.addmm(post.logits_bias, hidden[t], post.logits.t())
            probs[t] = mix_uniform(logits.view_as(stoch), unimix)
            stoch = one_hot_sample(probs[t], None if draws is None else draws[t], stochs[t])
        ctx.tape = core, before_deter, before_stoch, norm, hidden, post
        ctx.unimix = unimix
        ctx.save_for_backward(keep, deters, probs)
        return deters, stochs, probs

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_deters: Tensor, grad_stochs: Tensor, grad_probs: Tensor
    ) -> tuple[Tensor | None, ...]:
        core, before_deter, before_stoch, norm, hidden, post = ctx.tape
        keep, deters, probs = ctx.saved_tensors
        steps, rows, latents, classes = probs.shape
        # Straight through: the sample's gradient is that of its probabilities.
        into_probs = (grad_stochs + grad_probs).flatten(2)
        share = probs - ctx.unimix / classes  # (1 - unimix) * softmax
        logits_grad = th.empty_like(before_stoch)
        evidence_grad = th.empty_like(hidden)
        to_deter = grad_deters.new_zeros(rows, grad_deters.shape[-1])
        to_stoch = grad_deters.new_zeros(rows, latents * classes)
        for t in reversed(range(steps)):
            into = into_probs[t].add_(to_stoch).view(rows, latents, classes)
            weighted = into * share[t]
            mean = weighted.sum(-1, keepdim=True) / (1 - ctx.unimix)
            th.addcmul(weighted, share[t], mean, value=-1, out=logits_grad[t].view_as(weighted))
            into = norm.backward(t, logits_grad[t] @ post.logits, evidence_grad[t])
            to_deter.add_(grad_deters[t]).addmm_(into, post.deter)
            to_deter, to_stoch = core.backward(t, before_deter[t], to_deter)
            to_deter.mul_(keep[t])
            to_stoch.mul_(keep[t])
        flat = logits_grad.flatten(0, 1)
        post_grads = EvidenceKernels(
            deter=evidence_grad.flatten(0, 1).t() @ deters.flatten(0, 1),
            scale=norm.scale_grad(),
            logits=flat.t() @ hidden.flatten(0, 1),
            logits_bias=flat.sum(0),
        )
        kernel_grads = core.kernel_grads(before_deter, before_stoch)
        return (
            to_deter,
            to_stoch.view(rows, latents, classes),
            None,
            core.inputs_grad[:, :, 2],
            evidence_grad,
            None,
            None,
            *kernel_grads,
            *post_grads,
        )


class Imagination:
    """
    Steps of the prior without a graph, in memory that all of them share.

    :param kernels: of the core
    :param action_in: embedding of actions
    :param prior: hidden layers of the prior
    :param logits: weight and bias of its logits
    :param rows: N
    :param classes: C
    :param unimix: uniform share of the prior
    """

    def __init__(
        self,
        kernels: Kernels,
        action_in: Layer,
        prior: list[Layer],
        logits: tuple[Tensor, Tensor],
        rows: int,
        classes: int,
        unimix: float,
    ) -> None:
        self.core = CoreTape(kernels, 1, rows)
        self.action_in = StackTape([action_in], rows)
        self.prior = StackTape(prior, rows)
        self.weight, self.bias = logits
        self.classes, self.unimix = classes, unimix
        self.logits = kernels.own.new_empty(rows, len(self.bias))

    def step(self, feat: Tensor, action: Tensor, draws: Tensor | None, out: Tensor) -> Tensor:
        """
        Predict the next state.

        :param feat: state, h and z side by side, (N, D + S * C)
        :param action: encoded action, (N, A)
        :param draws: uniform random numbers, (N, S, 1); None takes the most likely class
        :param out: next state, written, (N, D + S * C)
        """
        width = feat.shape[1] - self.logits.shape[1]
        self.action_in.pieces.clear()  # nobody will ask for gradients
        self.prior.pieces.clear()
        action = self.action_in.forward(action / action.abs().clamp(min=1.0))
        x = self.core.forward(0, feat[:, :width], feat[:, width:], action, out[:, :width])
        hidden = self.prior.forward(x)
        th.addmm(self.bias, hidden, self.weight.t(), out=self.logits)
        probs = mix_uniform(self.logits.unflatten(1, (-1, self.classes)), self.unimix)
        one_hot_sample(probs, draws, out[:, width:].view_as(probs))
        return out
