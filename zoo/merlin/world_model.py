"""MERLIN's predictor with its decoders: a world model whose state has an external memory."""

from typing import Any

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.memory.predictor import MemoryBasedPredictor, PredictorState, told_reward
from dreamzoo.nn.networks.merlin import MerlinDecoder
from dreamzoo.nn.networks.world_models import NormalHead
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.state import State
from dreamzoo.nn.world_model import Filtered, WorldModel


class MerlinWorldModel(WorldModel):
    """
    Memory-based predictor, and decoders of all that it has seen: observation, action, reward.

    The paper has no head for ends; this one has, so that its dreams end where episodes do.

    Example:
        >>> from dreamzoo import MERLIN
        >>> model = MERLIN("MlpPolicy", "CartPole-v1").world_model
        >>> state = model.first_state(2)
        >>> model.decode(state).shape, model.decoded_action(state.z).shape
        (torch.Size([2, 4]), torch.Size([2, 2]))

    :param codec: the observation space
    :param encoder: from network inputs to tokens, with ``features_dim``
    :param dynamics: the predictor
    :param decoder: from z to predictions of the inputs
    :param action_dim: width A of an encoded action
    """

    dynamics: MemoryBasedPredictor
    decoder: MerlinDecoder
    reward: NormalHead

    def __init__(
        self,
        codec: ObservationCodec,
        encoder: nn.Module,
        dynamics: MemoryBasedPredictor,
        decoder: MerlinDecoder,
        action_dim: int,
    ) -> None:
        latents = dynamics.stoch
        reward, ends = NormalHead(latents, []), nn.Linear(latents, 1)
        super().__init__(codec, encoder, dynamics, decoder, reward, ends, action_dim)
        #: From z to means of the numbers, or logits of the classes, of the action before it.
        self.decoded_action = nn.Linear(latents, action_dim)

    def believed_reward(self, state: PredictorState, prior: Gaussian) -> Tensor:
        """Return what a state was told that it has earned, else what it expects, (n,)."""
        expected = self.reward.mean(prior.mean)
        return th.where(state.told.bool(), told_reward(state, prior), expected)

    def observe(
        self,
        latent: PredictorState,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> PredictorState:
        tokens = self.encoder(self.inputs(obs, 1, generator, mode=mode))[:, None]
        noise = self.dynamics.draw(is_first.shape[0], generator, mode=mode)
        given = latent, prev_action[:, None], tokens, is_first[:, None], [noise]
        (step,) = self.dynamics.filter(*given, self.believed_reward)
        return step.state

    def observe_sequence(
        self,
        latent: PredictorState,
        prev_actions: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
    ) -> Filtered:
        batch, length = is_first.shape
        targets = self.inputs(obs, 2, generator)
        tokens = self.encoder(targets).view(batch, length, -1)
        given: Any = latent, prev_actions, tokens, is_first, generator
        states, belief = self.dynamics.observe(*given, rewards=self.believed_reward)
        return Filtered(states, belief, targets)

    def imagine_sequence(
        self, latent: State, actions: Tensor, generator: th.Generator | None = None
    ) -> State:
        # Step by step: z, all that heads read, does not say what the LSTM and the memory hold.
        return LatentModel.imagine_sequence(self, latent, actions, generator)
