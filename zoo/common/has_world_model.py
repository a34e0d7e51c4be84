"""What an agent offers because it learns a world model: dreams, and states for them to begin in."""

from typing import Any, ClassVar

import torch as th

from dreamzoo.common.arguments import constructor, refuse_unknown
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.envs.dreams.vec_env import DreamVecEnv
from dreamzoo.envs.dreams.vector_env import DreamVectorEnv
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.state import State


class HasWorldModel(MemoryAgent):
    """
    Algorithm whose policy owns a world model.

    Put it before the base that says where batches come from: ``class MyAgent(HasWorldModel,
    RolloutAgent)``; :class:`WorldModelAlgorithm` is the one with a replay.

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    policy: WorldModelPolicy
    policy_base: ClassVar[type[WorldModelPolicy]]

    @property
    def world_model(self) -> LatentModel:
        """The learned model: ``model.policy.world_model``."""
        return self.policy.world_model

    def dream_env(self, n_envs: int = 1, **kwargs: Any) -> DreamVecEnv:
        """
        Offer the learned model as an environment for any agent of Stable-Baselines3.

        ``PPO("MlpPolicy", model.dream_env(n_envs=256)).learn(...)`` trains in the dream alone.

        :param n_envs: dreams side by side
        :param kwargs: of :class:`dreamzoo.envs.DreamVectorEnv`
        """
        known = constructor(DreamVectorEnv).parameters
        refuse_unknown("dream_env()", kwargs, known, known, "Nothing was made")
        return DreamVecEnv(self, n_envs, **kwargs)

    @restores_process
    @th.no_grad()
    @in_own_precision
    def replay_latents(self, generator: th.Generator | None = None) -> State:
        """
        Filter what was recorded: states for dreams to begin in.

        That is ``batch_size`` windows of a replay, or all steps that an on-policy agent has
        collected last. The last step of an episode is left out: nothing follows it.

        :param generator: source of the states' randomness
        :return: states of P steps, (P, ...)
        :raises ValueError: if too little is recorded, or nothing says how its observations are
            normalized
        """
        return self._recorded_latents(generator)  # type: ignore[attr-defined]
