"""Encoder, dynamics, decoder, reward and continuation behind one small face."""

from typing import NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.decoders import Decoder
from dreamzoo.nn.distributions import categorical_entropy
from dreamzoo.nn.encoders import CnnKind
from dreamzoo.nn.heads import Head, TwoHotHead
from dreamzoo.nn.layers import by_rows
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.presets import Size
from dreamzoo.nn.rssm import BlockRSSM, Latent


class Filtered(NamedTuple):
    """
    What filtering a batch of sequences yields.

    :param latent: states, (B, T, ...)
    :param post: posterior probabilities, (B, T, S, C)
    :param targets: network inputs that the decoder should reproduce, (B * T, ...)
    """

    latent: Latent
    post: Tensor
    targets: dict[str, Tensor]


class WorldModel(nn.Module):
    """
    DreamerV3's world model; the calls that dreams, planners and videos rely on.

    Observations are torch tensors of the environment's own shape and dtype; actions are encoded
    (:class:`ActionCodec`).

    :param codec: the observation space
    :param encoder: module from network inputs to tokens, with ``features_dim``
    :param action_dim: width A of an encoded action
    :param size: widths
    :param gamma: discount that the continue head's targets contain
    :param unimix: uniform share of the latent distributions
    :param vector_outscale: initial scale of the vector decoder's last layer
    :param cnn: kind of the image decoder
    """

    def __init__(
        self,
        codec: ObservationCodec,
        encoder: nn.Module,
        action_dim: int,
        size: Size,
        gamma: float,
        unimix: float = 0.01,
        vector_outscale: float = 1.0,
        cnn: CnnKind = "maxpool",
    ) -> None:
        super().__init__()
        self.codec = codec
        self.action_dim = action_dim
        self.gamma = gamma
        self.encoder = encoder
        self.dynamics = BlockRSSM(int(encoder.features_dim), action_dim, size, unimix)  # type: ignore[arg-type]
        self.decoder = Decoder(codec, size, vector_outscale, cnn)
        self.reward = TwoHotHead(size.feat, [size.units], size.bins)
        self.cont = Head(size.feat, 1, [size.units])

    def initial(self, n: int) -> Latent:
        """Return the latent before the first observation of n episodes."""
        return self.dynamics.initial(n)

    def observe(
        self,
        latent: Latent,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        """
        Filter one observation of n environments.

        :param latent: state after the previous observation
        :param prev_action: encoded action that led here, (n, A)
        :param obs: observation, (n, ...)
        :param is_first: bool, (n,)
        :param generator: source of randomness
        :param mode: take the most likely latent instead of a sample
        """
        tokens = self.encoder(self.codec.encode(obs))
        states, _ = self.dynamics.observe(
            latent, prev_action[:, None], tokens[:, None], is_first[:, None], generator, mode=mode
        )
        return Latent(states.deter[:, 0], states.stoch[:, 0])

    def observe_sequence(
        self,
        latent: Latent,
        prev_actions: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
    ) -> Filtered:
        """
        Filter a batch of sequences, with gradient.

        :param latent: state before the first step, (B, ...)
        :param prev_actions: encoded actions, ``prev_actions[:, t]`` led to ``obs[:, t]``, (B, T, A)
        :param obs: observations, (B, T, ...)
        :param is_first: bool, (B, T)
        """
        batch, length = is_first.shape
        targets = {k: v.flatten(0, 1) for k, v in self.codec.encode(obs, lead=2).items()}
        tokens = self.encoder(targets).view(batch, length, -1)
        states, post = self.dynamics.observe(latent, prev_actions, tokens, is_first, generator)
        return Filtered(states, post, targets)

    def imagine_step(
        self,
        latent: Latent,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Latent:
        """Predict the state after an encoded action (n, A), without an observation."""
        return self.dynamics.imagine_step(latent, action, generator, mode=mode)

    def first_state(self, n: int, generator: th.Generator | None = None) -> Latent:
        """Draw n states that the model believes in before the first observation of an episode."""
        nothing = self.initial(n)
        return self.imagine_step(nothing, nothing.deter.new_zeros(n, self.action_dim), generator)

    def entropy(self, latent: Latent) -> Tensor:
        """
        Compute the entropy of the model's prediction of the stochastic part of states.

        :return: nats, (...): high where the model is unsure, whatever it was that it then drew
        """
        return categorical_entropy(self.dynamics.prior(latent.deter))

    def reward_and_discount(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """
        Predict the expected reward of arriving in a state and the discount there.

        The continue head learns ``gamma * (1 - is_terminal)``, so the discount already contains
        gamma and must not be multiplied by it again.

        :param feat: features, (..., F)
        :return: reward and discount, (...)
        """
        discount = by_rows(lambda rows: th.sigmoid(self.cont(rows).float())[:, 0], feat)
        return self.reward.mean(feat), discount

    def predict(self, latent: Latent) -> tuple[Tensor, Tensor]:
        """
        Predict the reward of arriving in states and the probability that the episode goes on.

        :return: (...) each
        """
        reward, discount = self.reward_and_discount(latent.feat)
        return reward, (discount / self.gamma).clamp(max=1.0)

    def decode(self, latent: Latent) -> Observation:
        """Reconstruct observations of states (n, ...) in the environment's shape and dtype."""
        return self.codec.decode(self.decoder.most_likely(self.decoder(latent.feat)))
