"""What an agent offers because it learns a world model: dreams, and states for them to begin in."""

from typing import Any, ClassVar

import numpy as np
import torch as th

from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.envs.dreams.vec_env import DreamVecEnv
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.state import State, select
from dreamzoo.nn.world_model import Filtered, WorldModel


class HasWorldModel(MemoryAgent):
    """
    Algorithm whose policy owns a world model.

    Put it before the base that says where batches come from: ``class MyAgent(HasWorldModel,
    ReplayAgent)``.

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    policy: WorldModelPolicy
    policy_base: ClassVar[type[WorldModelPolicy]]

    @property
    def world_model(self) -> WorldModel:
        """The learned model: ``model.policy.world_model``."""
        return self.policy.world_model

    def observe_batch(
        self, batch: SequenceBatch, generator: th.Generator | None = None
    ) -> Filtered:
        """
        Filter the sequences of a batch, from the states that precede them.

        :param batch: (B, T)
        :param generator: source of the states' randomness
        """
        return self.policy.world_model.observe_sequence(
            self.start_latent(batch),
            self.policy.action_codec.encode(batch.actions),
            batch.observations,
            batch.is_first,
            generator,
        )

    def start_latent(self, batch: SequenceBatch) -> State:
        """Return the states that precede the rows of a batch, (B, ...)."""
        return self.policy.world_model.initial(len(batch.rewards))

    def dream_env(self, n_envs: int = 1, **kwargs: Any) -> DreamVecEnv:
        """
        Offer the learned model as an environment for any agent of Stable-Baselines3.

        ``PPO("MlpPolicy", model.dream_env(n_envs=256)).learn(...)`` trains in the dream alone.

        :param n_envs: dreams side by side
        :param kwargs: of :class:`dreamzoo.envs.DreamVectorEnv`
        """
        return DreamVecEnv(self, n_envs, **kwargs)

    @restores_process
    @th.no_grad()
    @in_own_precision
    def replay_latents(self, generator: th.Generator | None = None) -> State:
        """
        Filter recorded sequences: states for dreams to begin in.

        The last step of an episode is left out: nothing follows it.

        :param generator: source of the latents' randomness
        :return: states of about ``batch_size * batch_length`` steps, (P, ...)
        :raises ValueError: if too little is recorded, or nothing says how its observations are
            normalized
        """
        seed = int(th.randint(2**31, (), generator=generator, device=self.device))
        batch = self.recorded_sequences(np.random.default_rng(seed))  # type: ignore[attr-defined]
        return select(self.observe_batch(batch, generator).latent, ~batch.is_last)
