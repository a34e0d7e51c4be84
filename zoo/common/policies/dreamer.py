"""What the policies of the first two Dreamers share: an actor and a critic beside a world model."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.dreamer_model import DreamerWorldModel
from dreamzoo.nn.state import State


class DreamerPolicy(WorldModelPolicy):
    """
    World model, actor and critic, each with an optimizer of its own.

    :param args: of :class:`WorldModelPolicy`
    :param kwargs: of the same
    """

    world_model: DreamerWorldModel
    actor: Any  # DenseActor, of a room that this one does not know
    critic: Any

    def _set_actor_and_critic(
        self, actor: nn.Module, critic: nn.Module, lr_schedule: Schedule
    ) -> None:
        """
        Own an actor and a critic, and make the three optimizers.

        :param actor: from features to a distribution of actions
        :param critic: from features to values that include the rewards of their states
        :param lr_schedule: learning rate
        """
        self.actor, self.critic = actor, critic
        networks = {"actor_optimizer": actor, "critic_optimizer": critic}
        self._set_optimizer(lr_schedule, optimizer=self.world_model, **networks)

    def choose(
        self, latent: State, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        policy = self.actor(latent.feat)
        action = policy.mode() if deterministic else policy.sample(generator)
        return self.action_codec.decode(action)

    def value(self, latent: State) -> Tensor:
        # The critic's returns begin with the reward of having arrived, which is past.
        return self.critic(latent.feat) - self.world_model.reward(latent.feat)
