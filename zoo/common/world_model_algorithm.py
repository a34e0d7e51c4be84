"""What PlaNet and the Dreamers are: agents that learn a world model from replayed windows."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch as th

from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.replay_agent import ReplayAgent
from dreamzoo.nn.settings import Setting
from dreamzoo.nn.state import State, select
from dreamzoo.nn.world_model import Filtered, WorldModel


class WorldModelAlgorithm(HasWorldModel, ReplayAgent):
    """
    Off-policy algorithm that learns a world model from sequences, and acts through it.

    :param policy: alias or class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: float or schedule of the remaining progress
    :param buffer_size: replay capacity in records of all environments together
    :param learning_starts: steps before the first update; None: as soon as the replay holds
        ``batch_size * batch_length`` windows, or is full
    :param batch_size: rows B of a batch
    :param plumbing: what all such agents share, see :class:`ReplayPlumbing`
    """

    policy: WorldModelPolicy
    policy_base: ClassVar[type[WorldModelPolicy]]
    settings: ClassVar[Mapping[str, Setting]] = ReplayAgent.settings

    @property
    def world_model(self) -> WorldModel:
        """The learned model: ``model.policy.world_model``."""
        world_model = self.policy.world_model
        assert isinstance(world_model, WorldModel)
        return world_model

    def observe_batch(
        self, batch: SequenceBatch, generator: th.Generator | None = None
    ) -> Filtered:
        """
        Filter the sequences of a batch, from the states that precede them.

        :param batch: (B, T)
        :param generator: source of the states' randomness
        """
        return self.world_model.observe_sequence(
            self.start_latent(batch),
            self.policy.action_codec.encode(batch.actions),
            batch.observations,
            batch.is_first,
            generator,
        )

    def start_latent(self, batch: SequenceBatch) -> State:
        """Return the states that precede the rows of a batch, (B, ...)."""
        return self.policy.world_model.initial(len(batch.rewards))

    def _update(self, batch: SequenceBatch) -> dict[str, th.Tensor]:
        if self._n_updates == 0:
            self.world_model.start_at(batch.observations)
        return super()._update(batch)

    def _recorded_latents(self, generator: th.Generator | None) -> State:
        """Do what :meth:`replay_latents` does."""
        seed = int(th.randint(2**31, (), generator=generator, device=self.device))
        batch = self.recorded_sequences(np.random.default_rng(seed))
        return select(self.observe_batch(batch, generator).latent, ~batch.is_last)
