"""Encoder, dynamics, decoder, reward and continuation behind one small face."""

from typing import Any, NamedTuple, Protocol

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief
from dreamzoo.nn.distributions import at_least_float32
from dreamzoo.nn.fast.pieces import by_rows
from dreamzoo.nn.fast.ranks import of_all
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.rssm.dynamics import Dynamics
from dreamzoo.nn.state import State, select


class Decodes(Protocol):
    """A decoder: from features to predictions of network inputs, one for every key."""

    def __call__(self, feat: Tensor) -> dict[str, Tensor]:
        """Predict, (N, F) to (N, ...)."""

    def loss(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of predictions, (N,) for every key."""

    def most_likely(self, predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn predictions into network inputs."""


class PredictsScalar(Protocol):
    """A head that predicts a distribution of a scalar."""

    def __call__(self, feat: Tensor) -> Tensor:
        """Predict the distribution, (..., F) to (..., ?)."""

    def mean(self, feat: Tensor) -> Tensor:
        """Predict the scalar, (..., F) to (...)."""

    def sample(self, feat: Tensor, generator: th.Generator | None = None) -> Tensor:
        """Draw the scalar, (..., F) to (...)."""


class Filtered(NamedTuple):
    """
    What filtering a batch of sequences yields.

    :param latent: states, (B, T, ...)
    :param belief: what their stochastic part was drawn from, and what had been expected of it
    :param targets: network inputs that the decoder should reproduce, (B * T, ...)
    """

    latent: State
    belief: Belief[Any]
    targets: dict[str, Tensor]


class WorldModel(LatentModel):
    """
    A learned environment around a recurrent state-space model.

    Agents give it the networks of their paper. Every call has a gradient, towards weights, states
    and actions, unless it is made under ``torch.no_grad()``: the agents, dreams and planners here
    make it so. Gradients pass samples of states, see :class:`Dynamics`, but nothing that is
    rounded: observations of integers, images.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> small = dict(policy_kwargs=dict(size="debug"), device="cpu")
        >>> agent = DreamerV3("MlpPolicy", "CartPole-v1", **small)
        >>> model = agent.policy.world_model
        >>> latent = model.initial(2)  # of two episodes
        >>> action = agent.policy.action_codec.encode(torch.tensor([[0], [1]]))
        >>> latent = model.imagine_step(latent, action)
        >>> reward, cont = model.predict(latent)
        >>> reward.shape, model.decode(latent).shape
        (torch.Size([2]), torch.Size([2, 4]))

    :param codec: the observation space
    :param encoder: from network inputs to tokens, with ``features_dim``
    :param dynamics: recurrent state-space model
    :param decoder: from features to predictions of the inputs
    :param reward: from features to a scalar
    :param cont: from features to the logit of the discount
    :param action_dim: width A of an encoded action
    :param gamma: discount that the continue head's targets contain
    """

    #: Quantile of predicted discounts that counts as the gamma that was learned.
    GAMMA_QUANTILE = 0.9
    learned_gamma: Tensor

    def __init__(
        self,
        codec: ObservationCodec,
        encoder: nn.Module,
        dynamics: Dynamics,
        decoder: Decodes,
        reward: PredictsScalar,
        cont: nn.Module,
        action_dim: int,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.action_dim = action_dim
        # State, not a setting: what the continue head has learned outlives a change of gamma.
        self.register_buffer("learned_gamma", th.tensor(float(gamma)))
        self.encoder = encoder
        self.dynamics = dynamics
        self.decoder: Any = decoder  # a module, too
        self.reward: Any = reward
        self.cont = cont

    @property
    def gamma(self) -> float:
        """
        The discount that the continue head has learned.

        An agent's own ``gamma`` is what it is to learn: they differ for a while after that was
        changed, see :meth:`follow_gamma`. Reading it waits for the device.
        """
        return float(self.learned_gamma)

    @th.no_grad()
    def follow_gamma(self, discount: Tensor, is_terminal: Tensor, gamma: float) -> None:
        """
        Note, after a change of gamma, how far the continue head has followed.

        Where nothing ends, the head predicts the gamma that it has learned, or less where it sees
        an end coming: a high quantile over live steps is that gamma. It is moved only towards the
        gamma that is being learned, and so stays exactly what it is where that never changed.

        :param discount: predicted discount of every step, (...)
        :param is_terminal: steps that end an episode for good, (...)
        :param gamma: that the targets of this update contain
        """
        live = of_all(th.where(is_terminal, th.nan, discount).flatten())
        reached, learned = live.nanquantile(self.GAMMA_QUANTILE), self.learned_gamma
        reached = th.where(reached.isnan(), learned, reached)  # no live step in the batch
        low, high = learned.clamp(max=gamma), learned.clamp(min=gamma)
        learned.copy_(reached.clamp(low, high))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Files written before this was kept hold no more than the constructor's gamma.
        state_dict.setdefault(f"{prefix}learned_gamma", self.learned_gamma)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def initial(self, n: int) -> State:
        return self.dynamics.initial(n)

    def inputs(
        self,
        obs: Observation,
        lead: int = 1,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> dict[str, Tensor]:
        """
        Turn observations into what encoder and decoder's loss read, the same in both.

        :param obs: (..., ...) with ``lead`` batch axes
        :param lead: number of batch axes
        :param generator: source of randomness, for models that add noise
        :param mode: no noise
        :return: one tensor for every key, (N, ...)
        """
        return {k: v.flatten(0, lead - 1) for k, v in self.codec.encode(obs, lead).items()}

    def outputs(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn predictions of what :meth:`inputs` returns into what the codec decodes."""
        return values

    def start_at(self, obs: Observation) -> None:
        """
        Adapt networks to the first observations that they learn from, where they have to be.

        :param obs: (B, T, ...)
        """

    def observe(
        self,
        latent: State,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> State:
        tokens = self.encoder(self.inputs(obs, 1, generator, mode=mode))
        states, _ = self.dynamics.observe(
            latent, prev_action[:, None], tokens[:, None], is_first[:, None], generator, mode=mode
        )
        return select(states, (slice(None), 0))

    def observe_sequence(
        self,
        latent: State,
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
        targets = self.inputs(obs, 2, generator)
        tokens = self.encoder(targets).view(batch, length, -1)
        states, belief = self.dynamics.observe(latent, prev_actions, tokens, is_first, generator)
        return Filtered(states, belief, targets)

    def imagine_step(
        self,
        latent: State,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> State:
        return self.dynamics.imagine_step(latent, action, generator, mode=mode)

    def filter(
        self,
        latent: State,
        prev_actions: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
    ) -> State:
        return self.observe_sequence(latent, prev_actions, obs, is_first, generator).latent

    def imagine_sequence(
        self, latent: State, actions: Tensor, generator: th.Generator | None = None
    ) -> State:
        return self.dynamics.imagine(latent, actions, generator=generator).states

    def features(self, latent: State) -> Tensor:
        return latent.feat

    def entropy(self, latent: State) -> Tensor:
        return self.dynamics.entropy(latent)

    def reward_and_discount(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """
        Predict the expected reward of arriving in a state and the discount there.

        The continue head learns ``gamma * (1 - is_terminal)``, so the discount already contains
        gamma and must not be multiplied by it again.

        :param feat: features, (..., F)
        :return: reward and discount, (...)
        """
        discount = by_rows(lambda rows: th.sigmoid(at_least_float32(self.cont(rows)))[:, 0], feat)
        return self.reward.mean(feat), discount

    def predict(self, latent: State) -> tuple[Tensor, Tensor]:
        reward, discount = self.reward_and_discount(latent.feat)
        return reward, (discount / self.learned_gamma).clamp(max=1.0)

    def sample_reward(self, latent: State, generator: th.Generator | None = None) -> Tensor:
        return self.reward.sample(latent.feat, generator)

    def decode(self, latent: State) -> Observation:
        values = self.decoder.most_likely(self.decoder(latent.feat))
        return self.codec.decode(self.outputs(values))
