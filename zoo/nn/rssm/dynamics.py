"""What all recurrent state-space models have in common: their state and their calls."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief
from dreamzoo.nn.fast import memory
from dreamzoo.nn.rssm.imagination import Acts, Trajectory, steps_of
from dreamzoo.nn.state import map_parts


class Latent(NamedTuple):
    """
    State of a world model, batch axes first.

    Example:
        >>> import torch
        >>> from dreamzoo.nn import Latent
        >>> latent = Latent(deter=torch.zeros(4, 8), stoch=torch.zeros(4, 3, 5))
        >>> latent.feat.shape  # 8 + 3 * 5
        torch.Size([4, 23])

    :param deter: deterministic state h, (..., D); a model without one has D = 0
    :param stoch: stochastic state z, (..., S, C): one-hot vectors, codes, or with C = 1 numbers
    """

    deter: Tensor
    stoch: Tensor

    @property
    def feat(self) -> Tensor:
        """Features that the heads read, (..., D + S * C)."""
        return th.cat([self.deter, self.stoch.flatten(-2)], dim=-1)

    def detach(self) -> "Latent":
        """Cut the autograd graph."""
        return Latent(self.deter.detach(), self.stoch.detach())


class Dynamics(nn.Module):
    """
    A recurrent state-space model.

    Every call has a gradient, towards weights, states, actions and tokens, unless it is made under
    ``torch.no_grad()``. That of a sample is its own where noise was scaled to draw it (normal
    distributions), and goes straight through to the probabilities where it is one-hot. Latents of
    other kinds say theirs.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.gaussian import GaussianRSSM
        >>> dynamics = GaussianRSSM(token_dim=6, action_dim=2, deter=8, stoch=3, units=16)
        >>> latent = dynamics.initial(4)
        >>> dynamics.imagine_step(latent, torch.zeros(4, 2)).feat.shape
        torch.Size([4, 11])

    :param deter: width D of the deterministic state
    :param stoch: number S of latents
    :param classes: numbers C of one latent
    """

    def __init__(self, deter: int, stoch: int, classes: int) -> None:
        super().__init__()
        self.deter, self.stoch, self.classes = deter, stoch, classes

    def initial(self, n: int) -> Latent:
        """Return the all-zero state that precedes every episode, n rows."""
        like = next(self.parameters())
        return Latent(like.new_zeros(n, self.deter), like.new_zeros(n, self.stoch, self.classes))

    @abstractmethod
    def observe(
        self,
        latent: Latent,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> tuple[Latent, Belief[Any]]:
        """
        Filter a batch of sequences, with gradient through time.

        :param latent: state before the first step, (B, ...)
        :param prev_actions: encoded, ``prev_actions[:, t]`` led to ``tokens[:, t]``, (B, T, A)
        :param tokens: encoded observations, (B, T, E)
        :param is_first: steps that start an episode; state and action before are zeroed, (B, T)
        :param generator: source of randomness
        :param mode: take the most likely latents instead of samples
        :return: states (B, T, ...), and what their stochastic part was drawn from and what had
            been expected of it
        """

    @abstractmethod
    def imagine_step(
        self,
        latent: Latent,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        """
        Predict the next state without an observation.

        :param latent: current state, (N, ...)
        :param action: encoded action taken in it, (N, A)
        :param generator: source of randomness
        :param mode: take the most likely latent instead of a sample
        """

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
        """
        Predict what follows states without observations.

        An actor reads features that are cut off from the graph: its gradient comes from what its
        actions lead to, not from what led to the features (Dreamer and DreamerV2, ``imagine_ahead``
        and ``imagine`` of their code).

        :param latent: where to start, (N, ...)
        :param actor: chooses; or encoded actions to follow, (H, N, A)
        :param horizon: steps H; those of given actions need none
        :param generator: source of randomness
        :param mode: take the most likely actions and latents instead of samples
        :param graph: False builds no graph through states and actions, as if under
            ``torch.no_grad()``; the distributions returned keep the actor's own gradient
        """
        steps = steps_of(actor, horizon)
        state = latent if graph else map_parts(Tensor.detach, latent)
        states, feats, actions, chosen = [state], [state.feat], [], []
        with th.set_grad_enabled(graph and th.is_grad_enabled()):
            for t in range(steps):
                if isinstance(actor, Tensor):
                    action = encoded = actor[t]
                else:
                    chosen.append(actor.evaluate(feats[-1].detach()))
                    policy = actor.distribution(chosen[-1])
                    action = policy.mode() if mode else policy.sample(generator)
                    encoded = actor.encode(action)
                actions.append(action)
                state = self.imagine_step(state, encoded, generator, mode=mode)
                states.append(state)
                feats.append(state.feat)
            feat = memory.stack(feats)
            path = self._path(states, feat)
        if isinstance(actor, Tensor):
            return Trajectory(path, feat, actor, None)
        of_states = th.stack(chosen) if graph else actor.evaluate(feat[:-1])
        return Trajectory(path, feat, th.stack(actions), actor.distribution(of_states))

    def _path(self, states: list[Latent], feat: Tensor) -> Latent:
        """Join states to one of (1 + H, N, ...): here a view of their features."""
        return self.split(feat)

    def split(self, feat: Tensor) -> Latent:
        """View features (..., F) as states."""
        deter, stoch = feat.split([self.deter, self.stoch * self.classes], dim=-1)
        return Latent(deter, stoch.unflatten(-1, (self.stoch, self.classes)))

    @abstractmethod
    def entropy(self, latent: Latent) -> Tensor:
        """
        Compute the entropy of the prediction of the stochastic part of states.

        :return: nats, (...): high where the model is unsure, whatever it was that it then drew
        """
