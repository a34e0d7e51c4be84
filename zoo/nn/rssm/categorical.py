"""Recurrent state-space model of DreamerV2: layer-norm GRU, and latents of any kind."""

from functools import partial
from typing import Any

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief
from dreamzoo.nn.networks.gru import LayerNormGRU
from dreamzoo.nn.networks.world_models import GlorotLinear, expect_one_hots, glorot_mlp
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent
from dreamzoo.nn.rssm.gaussian import split_input
from dreamzoo.nn.rssm.latents import Latents, OneHotLatents


class LayerNormRSSM(Dynamics):
    """
    Recurrent state-space model of DreamerV2 (section 2; ``EnsembleRSSM`` of its code, one member).

    Observations enter only through the drawn latent, which the GRU reads at the next step.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.rssm.categorical import LayerNormRSSM
        >>> from dreamzoo.nn.rssm.latents import OneHotLatents
        >>> latents = OneHotLatents(stoch=3, classes=4)
        >>> dynamics = LayerNormRSSM(token_dim=5, action_dim=2, deter=8, hidden=6, latents=latents)
        >>> dynamics.imagine_step(dynamics.initial(4), torch.zeros(4, 2)).stoch.shape
        torch.Size([4, 3, 4])

    :param token_dim: width E of an encoded observation
    :param action_dim: width A of an encoded action
    :param deter: width D of the GRU (Atari: 600, control: 200)
    :param hidden: width of the hidden layers (the same)
    :param latents: kind and number of latents; None: 32 categoricals of 32 classes
    :param layer_norm: normalize inside of the GRU; False is an ablation of table 2
    """

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        deter: int = 600,
        hidden: int = 600,
        latents: Latents[Any] | None = None,
        *,
        layer_norm: bool = True,
    ) -> None:
        latents = latents or OneHotLatents()
        super().__init__(deter, latents.stoch, latents.classes)
        self.latents = latents
        self.input = glorot_mlp(self.stoch * self.classes + action_dim, [hidden], "elu")
        self.cell = LayerNormGRU(hidden, deter, layer_norm=layer_norm)
        if latents.one_hot:
            expect_one_hots(slice(0, self.stoch * self.classes), self.input)
        self.prior_head = self._head(deter, hidden, latents.outputs)
        self.post_head = self._head(deter + token_dim, hidden, latents.post_outputs)

    @staticmethod
    def _head(in_dim: int, hidden: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(*glorot_mlp(in_dim, [hidden], "elu"), GlorotLinear(hidden, outputs))

    def advance(self, latent: Latent, action: Tensor) -> Tensor:
        """Move the memory of states (N, ...) by encoded actions (N, A), to (N, D)."""
        embedded = self.input(th.cat([latent.stoch.flatten(-2), action], dim=-1))
        return self.cell(embedded, latent.deter)

    def prior(self, deter: Tensor) -> Any:
        """Expect the stochastic part, (..., D) to a belief about (..., S, C)."""
        return self.latents.expectation(self.prior_head(deter))

    def posterior(self, deter: Tensor, tokens: Tensor) -> Any:
        """Believe in a stochastic part after encoded observations (..., E)."""
        return self.latents.belief(self.post_head(th.cat([deter, tokens], dim=-1)))

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
        Filter a batch of sequences, see :meth:`Dynamics.observe`.

        What actions and observations add to hidden layers is computed for all steps before the
        loop; the prior, which no posterior asks for, after it and only if the belief is asked.
        """
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        # Masked in encoded form: the one-hot vector of action 0 is not zero.
        from_stoch, from_actions = split_input(self.input[0], prev_actions * keep)
        from_deter, from_tokens = split_input(self.post_head[0], tokens)
        deter, stoch = latent
        deters, stochs, posts = [], [], []
        steps = (x.unbind(1) for x in (keep, from_actions, from_tokens))
        for kept, action, evidence in zip(*steps, strict=True):
            embedded = self.input[1](th.addmm(action, stoch.flatten(-2) * kept, from_stoch))
            deter = self.cell(embedded, deter * kept)
            hidden = self.post_head[1](th.addmm(evidence, deter, from_deter))
            posts.append(self.post_head[2](hidden))
            stoch = self.latents.draw(self.latents.belief(posts[-1]), generator, mode)
            deters.append(deter)
            stochs.append(stoch)
        memory = th.stack(deters, dim=1)
        belief = Belief(self.latents.belief(th.stack(posts, dim=1)), partial(self.prior, memory))
        return Latent(memory, th.stack(stochs, dim=1)), belief

    def imagine_step(
        self,
        latent: Latent,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        deter = self.advance(latent, action)
        return Latent(deter, self.latents.draw(self.prior(deter), generator, mode))

    def entropy(self, latent: Latent) -> Tensor:
        return self.prior(latent.deter).entropy()
