"""Recurrent state-space models of PlaNet: Gaussian latents, with and without a memory."""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief, Gaussian
from dreamzoo.nn.fast.switch import computes_plainly
from dreamzoo.nn.networks.gru import GRUCell
from dreamzoo.nn.networks.world_models import Activation, GlorotLinear, glorot_mlp
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent

#: Smallest standard deviation of a belief (PlaNet, appendix A).
MIN_STD = 0.1

#: PlaNet's model and the ablations of its figure 4.
DynamicsKind = Literal["rssm", "ssm", "rnn"]


class GaussianHead(nn.Module):
    """
    One hidden layer, then mean and standard deviation ``softplus + 0.1``.

    :param in_dim: inputs
    :param units: width of the hidden layer
    :param stoch: number S of latents
    :param activation: of the hidden layer
    """

    def __init__(self, in_dim: int, units: int, stoch: int, activation: Activation) -> None:
        super().__init__()
        self.hidden = glorot_mlp(in_dim, [units], activation)
        self.mean = GlorotLinear(units, stoch)
        self.std = GlorotLinear(units, stoch)

    def forward(self, x: Tensor) -> Gaussian:
        return self.output()(self.hidden(x))

    def output(self) -> Callable[[Tensor], Gaussian]:
        """Join both last layers, for as long as weights do not change: hidden units to belief."""
        weight = th.cat([self.mean.weight, self.std.weight])
        bias = th.cat([self.mean.bias, self.std.bias])

        def to_belief(hidden: Tensor) -> Gaussian:
            mean, raw = F.linear(hidden, weight, bias).chunk(2, dim=-1)
            return Gaussian(mean, F.softplus(raw) + MIN_STD)

        return to_belief


class GaussianDynamics(Dynamics):
    """
    Base of the three models; a subclass says how states move and how they are corrected.

    :param deter: width D of the memory
    :param stoch: number S of latents
    :param sample: draw latents; False takes their means, in training too
    """

    def __init__(self, deter: int, stoch: int, *, sample: bool = True) -> None:
        super().__init__(deter, stoch, classes=1)
        self.sample = sample

    @abstractmethod
    def prior(self, latent: Latent, action: Tensor) -> tuple[Tensor, Gaussian]:
        """
        Move states (N, ...) by encoded actions (N, A).

        :return: memory (N, D) and what is expected of the stochastic part (N, S)
        """

    @abstractmethod
    def posterior(self, deter: Tensor, prior: Gaussian, tokens: Tensor) -> Gaussian:
        """Correct an expectation by encoded observations (N, E)."""

    def draw(self, belief: Gaussian, generator: th.Generator | None, mode: bool) -> Tensor:
        """Take a latent (..., S, 1) from a belief."""
        latent = belief.mode() if mode or not self.sample else belief.sample(generator)
        return latent[..., None]

    def observe(
        self,
        latent: Latent,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> tuple[Latent, Belief[Gaussian]]:
        """Filter a batch of sequences, see :meth:`Dynamics.observe`."""
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        states, posts, priors = [], [], []
        for t in range(is_first.shape[1]):
            latent = Latent(latent.deter * keep[:, t], latent.stoch * keep[:, t, :, None])
            deter, prior = self.prior(latent, prev_actions[:, t] * keep[:, t])
            post = self.posterior(deter, prior, tokens[:, t])
            latent = Latent(deter, self.draw(post, generator, mode))
            states.append(latent)
            posts.append(post)
            priors.append(prior)
        belief = Belief(Gaussian(*_stack(posts)), lambda: Gaussian(*_stack(priors)))
        return Latent(*_stack(states)), belief

    def imagine_step(
        self,
        latent: Latent,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        deter, prior = self.prior(latent, action)
        return Latent(deter, self.draw(prior, generator, mode))


class GaussianRSSM(GaussianDynamics):
    """
    Recurrent state-space model (PlaNet, eq. 4): GRU and latents.

    Observations enter only through the sampled latent, which the GRU reads at the next step.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.gaussian import GaussianRSSM
        >>> dynamics = GaussianRSSM(token_dim=5, action_dim=2, deter=8, stoch=3, units=6)
        >>> latent = dynamics.imagine_step(dynamics.initial(4), torch.zeros(4, 2))
        >>> latent.deter.shape, latent.stoch.shape
        (torch.Size([4, 8]), torch.Size([4, 3, 1]))

    :param token_dim: width E of an encoded observation
    :param action_dim: width A of an encoded action
    :param deter: width D of the GRU
    :param stoch: number S of latents
    :param units: width of the hidden layers
    :param activation: of the hidden layers
    :param sample: False makes it the purely deterministic model of figure 4: a recurrent network
        whose latents are the means
    """

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        deter: int = 200,
        stoch: int = 30,
        units: int = 200,
        activation: Activation = "relu",
        *,
        sample: bool = True,
    ) -> None:
        super().__init__(deter, stoch, sample=sample)
        self.input = glorot_mlp(stoch + action_dim, [units], activation)
        self.cell = GRUCell(units, deter)
        self._init_cell(units)
        self.prior_head = GaussianHead(deter, units, stoch, activation)
        self.post_head = GaussianHead(deter + token_dim, units, stoch, activation)

    @th.no_grad()
    def _init_cell(self, units: int) -> None:
        """
        Initialize the GRU as TensorFlow does, which reset and update gate leave mostly open.

        Kernels are Glorot-uniform over input and memory together, both gates being one matrix; the
        bias of the gates is one.
        """
        gates = 2 * self.deter
        for rows, outputs in ((slice(gates), gates), (slice(gates, None), self.deter)):
            limit = math.sqrt(6.0 / (units + self.deter + outputs))
            for weight in (self.cell.weight_ih, self.cell.weight_hh):
                weight[rows].uniform_(-limit, limit)
        self.cell.bias_hh.zero_()
        self.cell.bias_ih.zero_()
        self.cell.bias_ih[:gates] = 1.0

    def prior(self, latent: Latent, action: Tensor) -> tuple[Tensor, Gaussian]:
        embedded = self.input(th.cat([latent.stoch.flatten(-2), action], dim=-1))
        deter = self.cell(embedded, latent.deter)
        return deter, self.prior_head(deter)

    def posterior(self, deter: Tensor, prior: Gaussian, tokens: Tensor) -> Gaussian:
        return self.post_head(th.cat([deter, tokens], dim=-1))

    def observe(
        self,
        latent: Latent,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> tuple[Latent, Belief[Gaussian]]:
        """
        Filter as :meth:`GaussianDynamics.observe`, with less work in the loop.

        What actions and observations add to hidden layers is computed for all steps before it, the
        prior, which no posterior asks for, after it and only if the belief is asked for it.
        """
        if computes_plainly():
            return super().observe(latent, prev_actions, tokens, is_first, generator, mode=mode)
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        from_stoch, from_actions = split_input(self.input[0], prev_actions * keep)
        from_deter, from_tokens = split_input(self.post_head.hidden[0], tokens)
        to_belief = self.post_head.output()
        deter, stoch = latent.deter, latent.stoch
        deters, stochs, posts = [], [], []
        steps = (x.unbind(1) for x in (keep, from_actions, from_tokens))
        for kept, action, evidence in zip(*steps, strict=True):
            embedded = th.addmm(action, stoch.flatten(-2) * kept, from_stoch)
            deter = self.cell(self.input[1](embedded), deter * kept)
            hidden = self.post_head.hidden[1](th.addmm(evidence, deter, from_deter))
            posts.append(to_belief(hidden))
            stoch = self.draw(posts[-1], generator, mode)
            deters.append(deter)
            stochs.append(stoch)
        memory = th.stack(deters, dim=1)
        belief = Belief(Gaussian(*_stack(posts)), partial(self.prior_head, memory))
        return Latent(memory, th.stack(stochs, dim=1)), belief

    def entropy(self, latent: Latent) -> Tensor:
        entropy = self.prior_head(latent.deter).entropy()
        return entropy if self.sample else th.zeros_like(entropy)


class GaussianSSM(GaussianDynamics):
    """
    Purely stochastic state-space model (PlaNet, eq. 3 and figure 4): no memory but the latents.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.gaussian import GaussianSSM
        >>> dynamics = GaussianSSM(token_dim=5, action_dim=2, stoch=3, units=6)
        >>> dynamics.imagine_step(dynamics.initial(4), torch.zeros(4, 2)).deter.shape  # no memory
        torch.Size([4, 0])

    :param token_dim: width E of an encoded observation
    :param action_dim: width A of an encoded action
    :param stoch: number S of latents
    :param units: width of the hidden layers
    :param activation: of the hidden layers; ELU helps here (figure 9)
    """

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        stoch: int = 30,
        units: int = 200,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(0, stoch)
        self.prior_head = GaussianHead(stoch + action_dim, units, stoch, activation)
        self.post_head = GaussianHead(2 * stoch + token_dim, units, stoch, activation)
        self.action_dim = action_dim

    def prior(self, latent: Latent, action: Tensor) -> tuple[Tensor, Gaussian]:
        inputs = th.cat([latent.stoch.flatten(-2), action], dim=-1)
        return latent.deter, self.prior_head(inputs)

    def posterior(self, deter: Tensor, prior: Gaussian, tokens: Tensor) -> Gaussian:
        return self.post_head(th.cat([*prior, tokens], dim=-1))

    def entropy(self, latent: Latent) -> Tensor:
        """
        Compute the entropy of what follows states if no action is taken, nats, (...).

        What a state itself was drawn from cannot be told from it without a memory.
        """
        zero = latent.stoch.new_zeros(*latent.stoch.shape[:-2], self.action_dim)
        return self.prior(latent, zero)[1].entropy()


def split_input(layer: nn.Module, known: Tensor) -> tuple[Tensor, Tensor]:
    """
    Split a linear layer whose last inputs are known for all steps.

    :param layer: linear layer that reads [..., known]
    :param known: (B, T, K)
    :return: transposed weight of the other inputs (in - K, out); what the known ones and the bias
        add, (B, T, out)
    """
    assert isinstance(layer, nn.Linear)
    others = layer.in_features - known.shape[-1]
    weight, of_known = layer.weight.split([others, known.shape[-1]], dim=1)
    return weight.t(), F.linear(known, of_known, layer.bias)


def _stack(steps: list[Latent] | list[Gaussian]) -> list[Tensor]:
    """Join what every step yields along a time axis, (B, T, ...)."""
    return [th.stack(parts, dim=1) for parts in zip(*steps, strict=True)]


def overshoot(
    dynamics: GaussianDynamics,
    latent: Latent,
    actions: Tensor,
    is_first: Tensor,
    distance: int,
    generator: th.Generator | None = None,
) -> tuple[Gaussian, Tensor]:
    """
    Predict every step from posterior states further and further back (PlaNet, eq. 6).

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> from dreamzoo.nn.rssm.gaussian import GaussianRSSM, overshoot
        >>> dynamics = GaussianRSSM(token_dim=5, action_dim=2, deter=8, stoch=3, units=6)
        >>> latent = Latent(torch.zeros(4, 7, 8), torch.zeros(4, 7, 3, 1))
        >>> first = torch.zeros(4, 7, dtype=torch.bool)
        >>> expected, exists = overshoot(dynamics, latent, torch.zeros(4, 7, 2), first, distance=2)
        >>> expected.mean.shape, exists[1, 0]  # nothing comes two steps before the second step
        (torch.Size([2, 4, 7, 3]), tensor([False, False,  True,  True,  True,  True,  True]))

    :param dynamics: the model
    :param latent: posterior states, (B, T, ...)
    :param actions: encoded, ``actions[:, t]`` led to step t, (B, T, A)
    :param is_first: steps that start an episode: no prediction reaches across, (B, T)
    :param distance: largest number of steps D
    :param generator: source of randomness
    :return: expectations of the stochastic part (D, B, T, S), entry d - 1 of step t predicted from
        step t - d; and which of them exist, bool (D, B, T)
    """
    batch, length = is_first.shape
    state = Latent(*(part.flatten(0, 1) for part in latent))
    means, stds, masks = [], [], []
    valid = th.ones_like(is_first)
    for d in range(1, distance + 1):
        # Row (b, t) now stands at step t + d - 1 and moves on; past the end it repeats the last.
        steps = th.arange(d, length + d, device=is_first.device).clamp(max=length - 1)
        deter, prior = dynamics.prior(state, actions[:, steps].flatten(0, 1))
        state = Latent(deter, dynamics.draw(prior, generator, mode=False))
        valid = valid & ~is_first[:, steps]
        inside = th.arange(length, device=is_first.device) >= d
        # Sorted by where predictions arrive, not by where they started.
        means.append(prior.mean.view(batch, length, -1).roll(d, dims=1))
        stds.append(prior.std.view(batch, length, -1).roll(d, dims=1))
        masks.append(valid.roll(d, dims=1) & inside)
    return Gaussian(th.stack(means), th.stack(stds)), th.stack(masks)
