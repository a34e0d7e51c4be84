"""Recurrent state-space model of DreamerV3: block GRU and categorical latents."""

from functools import partial
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief, Categorical
from dreamzoo.nn.distributions import mix_uniform
from dreamzoo.nn.fast import graphs
from dreamzoo.nn.fast.switch import computes_plainly, needs_graph
from dreamzoo.nn.fast.tapes import Piece, StackTape
from dreamzoo.nn.fast.threads import map_pieces
from dreamzoo.nn.fast.unroll import (
    CoreWeights,
    EvidenceWeights,
    FilterInputs,
    Imagination,
    Unroll,
    filter_steps,
)
from dreamzoo.nn.networks.heads import Actor
from dreamzoo.nn.networks.layers import MLP, BlockLinear, DenseBlock, Linear, RMSNorm
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent
from dreamzoo.nn.rssm.imagination import Acts, Trajectory, steps_of

#: Rows of imagination that one core computes together.
DREAM_ROWS = 512


class BlockGRU(nn.Module):
    """
    Sequence model with block-diagonal recurrence (reference rssm.py, _core).

    Differs from a GRU cell: the reset gate multiplies the whole candidate pre-activation, the
    update gate weights the *candidate* and carries a bias of -1. Blocks exchange information
    only through the input embedding of h and the statistics of one norm.

    :param action_dim: width A of an encoded action
    :param deter: width D of the deterministic state
    :param stoch_dim: width S * C of the stochastic state
    :param hidden: width of the embeddings
    :param blocks: number g of blocks, which divides D
    """

    def __init__(
        self, action_dim: int, *, deter: int, stoch_dim: int, hidden: int, blocks: int
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.deter_in = DenseBlock(deter, hidden)
        self.stoch_in = DenseBlock(stoch_dim, hidden)
        self.action_in = DenseBlock(action_dim, hidden)
        self.hidden = BlockLinear(deter + blocks * 3 * hidden, deter, blocks)
        self.hidden_norm = nn.Sequential(RMSNorm(deter), nn.SiLU())
        self.gates = BlockLinear(deter, 3 * deter, blocks)
        self._kept: tuple[list[Any], CoreWeights] | None = None
        # A constant, not state: the update gate starts at sigmoid(-1).
        self.update_shift: Tensor
        shift = th.tensor([[0.0], [0.0], [1.0]])  # of reset, candidate, update
        self.register_buffer("update_shift", shift, persistent=False)

    def embed_action(self, action: Tensor) -> Tensor:
        """
        Embed encoded actions; nothing here depends on the state, so a sequence is done at once.

        :param action: (..., A); unbounded samples are scaled to at most 1
        :return: (..., hidden)
        """
        return self.action_in(action / action.abs().clamp(min=1.0).detach())

    def forward(self, latent: Latent, action: Tensor) -> Tensor:
        """
        Advance the deterministic state: what :class:`CoreTape` computes, in torch's own functions.

        :param latent: state, (N, ...)
        :param action: embedded action, (N, hidden)
        :return: (N, D)
        """
        own = latent.deter.unflatten(-1, (self.blocks, -1))  # (N, g, D / g)
        embedded = [self.deter_in(latent.deter), self.stoch_in(latent.stoch.flatten(1)), action]
        shared = th.cat(embedded, dim=-1)[:, None].expand(-1, self.blocks, -1)
        hidden = self.hidden_norm(self.hidden(th.cat([own, shared], dim=-1).flatten(1)))
        gates = self.gates(hidden).unflatten(-1, (self.blocks, 3, -1)) - self.update_shift
        reset, candidate, update = gates.unbind(2)
        candidate = th.tanh(th.sigmoid(reset) * candidate)
        return th.lerp(own, candidate, th.sigmoid(update)).flatten(1)

    def weights(self) -> CoreWeights:
        """
        Lay the weights out as :class:`CoreTape` reads them.

        Without a gradient the last layout is kept, without a graph, for as long as no weight
        changes: acting asks for it at every step.
        """
        weights = self._weights()
        if th.is_grad_enabled() or graphs.is_recording():
            return self._lay_out(weights)
        # Every change in place raises a tensor's version (RecordedUpdate sees to it that those of
        # optimizers do); a new tensor lies elsewhere.
        state = [(p.data_ptr(), p._version) for p in weights]
        if self._kept is None or self._kept[0] != state:
            kept = self._lay_out(weights)
            self._kept = state, CoreWeights(*(x.detach() for x in kept))
        return self._kept[1]

    def _weights(self) -> list[Tensor]:
        # Acting asks at every step: attributes of modules take three times as long.
        modules: Any = self._modules
        hidden, gates = modules["hidden"]._parameters, modules["gates"]._parameters
        return [
            *modules["deter_in"].weights(),
            *modules["stoch_in"].weights(),
            hidden["weight"],
            hidden["bias"],
            modules["hidden_norm"]._modules["0"]._parameters["weight"],
            gates["weight"],
            gates["bias"],
        ]

    def _lay_out(self, weights: list[Tensor]) -> CoreWeights:
        """
        Split the kernel of ``hidden``, whose blocks read [their own part of h, the embeddings].

        The rows that read the embeddings form one dense matrix, so that these, which all blocks
        share, need not be repeated for each.
        """
        deter_in, deter_bias, deter_scale, stoch_in, stoch_bias, stoch_scale = weights[:6]
        hidden, hidden_bias, hidden_scale, gates, gates_bias = weights[6:]
        own = hidden.shape[2]
        return CoreWeights(
            deter_in=deter_in,
            deter_bias=deter_bias,
            stoch_in=stoch_in,
            stoch_bias=stoch_bias,
            in_scale=th.stack([deter_scale, stoch_scale]),
            own=hidden[:, :own],
            shared=hidden[:, own:].transpose(0, 1).flatten(1),
            hidden_bias=hidden_bias,
            hidden_scale=hidden_scale,
            gates=gates,
            gates_bias=(gates_bias.view(self.blocks, 3, -1) - self.update_shift).flatten(1),
        )


class BlockRSSM(Dynamics):
    """
    Block GRU with categorical prior and posterior (reference rssm.py, RSSM).

    Latents are always sampled, through the mixed probabilities; ``mode=True`` takes the most
    likely class, for deterministic predictions only.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.block import BlockRSSM
        >>> widths = dict(deter=8, stoch=3, classes=4, hidden=6, blocks=2)
        >>> dynamics = BlockRSSM(token_dim=5, action_dim=2, **widths)
        >>> actions, tokens = torch.zeros(4, 7, 2), torch.zeros(4, 7, 5)  # (B, T, ...)
        >>> first = torch.zeros(4, 7, dtype=torch.bool)
        >>> states, belief = dynamics.observe(dynamics.initial(4), actions, tokens, first)
        >>> states.feat.shape  # 8 + 3 * 4
        torch.Size([4, 7, 20])

    :param token_dim: width of the encoder's output
    :param action_dim: width A of an encoded action
    :param deter: width D of the deterministic state
    :param stoch: number S of latents
    :param classes: classes C of each latent
    :param hidden: width of all hidden layers
    :param blocks: number g of blocks of the GRU, which divides D
    :param unimix: uniform share of every latent distribution (DreamerV3, table 4)
    """

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        *,
        deter: int,
        stoch: int,
        classes: int,
        hidden: int,
        blocks: int,
        unimix: float = 0.01,
    ) -> None:
        super().__init__(deter, stoch, classes)
        if not 0 < unimix < 1:
            raise ValueError(f"unimix={unimix} must lie between 0 and 1: it keeps KL terms finite.")
        self.action_dim, self.unimix = action_dim, unimix
        flat = stoch * classes
        self.core = BlockGRU(action_dim, deter=deter, stoch_dim=flat, hidden=hidden, blocks=blocks)
        self.prior_hidden = MLP(deter, [hidden, hidden])
        self.prior_logits = Linear(hidden, flat)
        self.post_hidden = DenseBlock(deter + token_dim, hidden)
        self.post_logits = Linear(hidden, flat)

    def prior(self, deter: Tensor) -> Categorical:
        """Predict z from h, (..., D) to (..., S, C)."""
        return self._mixed(self.prior_logits(self.prior_hidden(deter)))

    def entropy(self, latent: Latent) -> Tensor:
        return self.prior(latent.deter).entropy()

    def _mixed(self, logits: Tensor) -> Categorical:
        by_latent = logits.unflatten(-1, (self.stoch, self.classes))
        return Categorical(mix_uniform(by_latent, self.unimix))

    def observe(
        self,
        latent: Latent,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> tuple[Latent, Belief[Categorical]]:
        """Filter a batch of sequences, see :meth:`Dynamics.observe`."""
        if computes_plainly():
            return self._observe_plainly(latent, prev_actions, tokens, is_first, generator, mode)
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        # Masked in encoded form: the one-hot vector of action 0 is not zero.
        actions = self.core.embed_action(prev_actions * keep)
        linear, norm = self.post_hidden.linear, self.post_hidden.norm
        from_deter, from_tokens = linear.weight.split([self.deter, tokens.shape[-1]], dim=1)
        evidence = F.linear(tokens, from_tokens, linear.bias)
        shape = (tokens.shape[1], len(tokens), self.stoch)
        draws = None if mode else _draws(shape, generator, tokens.device)
        keep, actions, evidence = (
            x.transpose(0, 1).contiguous() for x in (keep, actions, evidence)
        )
        data = FilterInputs(*latent, keep, actions, evidence, draws, self.unimix)
        core = self.core.weights()
        post = EvidenceWeights(
            from_deter, norm.weight, self.post_logits.weight, self.post_logits.bias
        )
        if th.is_grad_enabled():
            outputs = Unroll.apply(*data, *core, *post)
        else:
            outputs, _ = filter_steps(data, core, EvidenceWeights(*(x.detach() for x in post)))
        deter, stoch, probs = (x.transpose(0, 1) for x in outputs)
        return Latent(deter, stoch), Belief(Categorical(probs), partial(self.prior, deter))

    def _observe_plainly(
        self,
        latent: Latent,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None,
        mode: bool,
    ) -> tuple[Latent, Belief[Categorical]]:
        """Filter in torch's own functions, which can be exported; this is the equation."""
        batch, length = is_first.shape
        draws = None if mode else _draws((length, batch, self.stoch), generator, tokens.device)
        steps = []
        for t in range(length):
            keep = (~is_first[:, t, None]).to(tokens.dtype)
            latent = Latent(latent.deter * keep, latent.stoch * keep[..., None])
            deter = self.core(latent, self.core.embed_action(prev_actions[:, t] * keep))
            hidden = self.post_hidden(th.cat([deter, tokens[:, t]], dim=-1))
            post = self._mixed(self.post_logits(hidden))
            latent = Latent(deter, _choose(post, None if draws is None else draws[t]))
            steps.append((*latent, post.probs))
        deters, stochs, probs = (th.stack(parts, dim=1) for parts in zip(*steps, strict=True))
        return Latent(deters, stochs), Belief(Categorical(probs), partial(self.prior, deters))

    def imagination(self, rows: int) -> Imagination:
        """Prepare to imagine many steps of N rows without a graph; weights must not change."""
        with th.no_grad():
            return Imagination(
                self.core.weights(),
                self.core.action_in.weights(),
                self.prior_hidden.weights(),
                (self.prior_logits.weight, self.prior_logits.bias),
                rows,
                self.classes,
                self.unimix,
            )

    def imagine(
        self,
        latent: Latent,
        actor: Acts | Tensor,
        horizon: int | None = None,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
        graph: bool = True,
    ) -> Trajectory:
        """Predict what follows states, see :meth:`Dynamics.imagine`; fast without a graph."""
        if not (graph and th.is_grad_enabled()):
            steps = steps_of(actor, horizon)
            if isinstance(actor, Actor) and not mode:
                if computes_plainly():
                    return self._imagine_plainly(latent.detach(), actor, steps, generator)
                return self._imagine_fast(latent.detach(), actor, steps, generator)
            if isinstance(actor, Tensor) and not computes_plainly():
                return self._follow(latent, actor, generator, mode)
        return super().imagine(latent, actor, horizon, generator, mode=mode, graph=graph)

    def _imagine_fast(
        self, latent: Latent, actor: Actor, horizon: int, generator: th.Generator | None
    ) -> Trajectory:
        """Roll an actor out; its own evaluation, whose body runs once, keeps its gradient."""
        start = latent.feat
        feat = start.new_empty(horizon + 1, *start.shape)
        feat[0] = start
        # On a CPU some rows at a time, for its cache and for its cores.
        pieces = feat.split(DREAM_ROWS if feat.device.type == "cpu" else len(start), dim=1)
        trunk = actor.body.tape(horizon * len(start))
        plan = trunk.plan([piece[t] for t in range(horizon) for piece in pieces])
        # Drawn for all rows and steps at once: what is dreamed depends on no piece and no thread.
        lead = (horizon, len(start))
        noise = actor.draw(lead, generator, feat.device)
        draws = _draws((*lead, self.stoch), generator, feat.device)
        split = (x.split(pieces[0].shape[1], dim=1) for x in (noise, draws))
        work = [
            (piece, plan[i :: len(pieces)], *random)
            for i, (piece, *random) in enumerate(zip(pieces, *split, strict=True))
        ]
        imagine = partial(self._imagine_rows, actor, trunk)
        actions = th.cat(map_pieces(imagine, work, feat.device), dim=1)
        if feat.device.type != "cpu":
            trunk.join(feat[:-1].flatten(0, 1))
        # The trunk was evaluated once; here it gets its gradient.
        policy = actor.distribution(actor.body.attach(trunk).view(*lead, -1))
        return Trajectory(self.split(feat), feat, actions, policy)

    def _imagine_plainly(
        self, latent: Latent, actor: Actor, horizon: int, generator: th.Generator | None
    ) -> Trajectory:
        """Roll out in torch's own functions; this is the equation."""
        lead = (horizon, len(latent.deter))
        noise = actor.draw(lead, generator, latent.deter.device)
        draws = _draws((*lead, self.stoch), generator, latent.deter.device)
        feats, actions = [latent.feat], []
        with th.no_grad():
            for t in range(horizon):
                actions.append(actor(latent.feat).from_noise(noise[t]))
                embedded = self.core.embed_action(actor.encode(actions[-1]))
                deter = self.core(latent, embedded)
                latent = Latent(deter, _choose(self.prior(deter), draws[t]))
                feats.append(latent.feat)
        feat = th.stack(feats)
        return Trajectory(self.split(feat), feat, th.stack(actions), actor(feat[:-1]))

    @th.no_grad()
    def _follow(
        self, latent: Latent, actions: Tensor, generator: th.Generator | None, mode: bool
    ) -> Trajectory:
        """Follow given actions (H, N, A), in memory that all steps share."""
        start = latent.feat
        feat = start.new_empty(len(actions) + 1, *start.shape)
        feat[0] = start
        imagination = self.imagination(len(start))
        for t, action in enumerate(actions):
            draws = None if mode else _draws((len(start), self.stoch), generator, feat.device)
            imagination.step(feat[t], action, draws, out=feat[t + 1])
        return Trajectory(self.split(feat), feat, actions, None)

    def _imagine_rows(
        self, actor: Actor, trunk: StackTape, work: tuple[Tensor, list[Piece], Tensor, Tensor]
    ) -> Tensor:
        """
        Roll out from n states.

        :param trunk: of the actor
        :param work: features of states 0..H, (H + 1, n, F), of which those after 0 are written;
            the trunk's plan of states 0..H-1; noise of actions, (H, n, ...), and uniform numbers
            for latents, (H, n, S)
        :return: the actions chosen in states 0..H-1, (H, n, ...)
        """
        feat, plan, noise, draws = work
        imagination = self.imagination(feat.shape[1])
        actions = []
        for t, piece in enumerate(plan):
            chosen = actor.distribution(trunk.evaluate(piece))
            actions.append(chosen.from_noise(noise[t]))
            encoded = actor.encode(actions[-1])
            imagination.step(feat[t], encoded, draws[t], out=feat[t + 1])
        return th.stack(actions)

    def imagine_step(
        self,
        latent: Latent,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        """Predict the next state, see :meth:`Dynamics.imagine_step`."""
        shape = (action.shape[0], self.stoch)
        draws = None if mode else _draws(shape, generator, action.device)
        if needs_graph():
            deter = self.core(latent, self.core.embed_action(action))
            return Latent(deter, _choose(self.prior(deter), draws))
        feat = latent.feat
        out = self.imagination(len(feat)).step(feat, action, draws, th.empty_like(feat))
        return self.split(out)


def _choose(belief: Categorical, draws: Tensor | None) -> Tensor:
    """Take a sample, or without random numbers the most likely classes."""
    return belief.mode() if draws is None else belief.from_noise(draws)


def _draws(shape: tuple[int, ...], generator: th.Generator | None, device: th.device) -> Tensor:
    """Draw one uniform number for every latent."""
    return th.rand(shape, generator=generator, device=device)
