"""What the first two Dreamers share: how they begin, and three networks that learn apart."""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, get_args

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from dreamzoo.common.policies.dreamer import DreamerPolicy
from dreamzoo.common.settings import Rate
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.nn.dreamer_model import RewardTransform
from dreamzoo.nn.settings import Choice, Number, Setting, Whole
from dreamzoo.nn.state import State, first_part


class DreamerAlgorithm(WorldModelAlgorithm):
    """
    Agent whose actor and critic learn in imagination, with learning rates of their own.

    Actions are uniform until updates are allowed (``learning_starts``). The first update is
    followed by others at once, as many as ``pretrain`` says.

    :param args: of :class:`WorldModelAlgorithm`
    :param kwargs: of the same
    """

    policy: DreamerPolicy
    apart = ("actor", "critic")
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelAlgorithm.settings,
        "horizon": Whole(2),
        "pretrain": Whole(0),
        "actor_learning_rate": Rate(),
        "critic_learning_rate": Rate(),
        "gamma": Number(0, 1, above=True),  # what a continue head learns is a multiple of it
        "gae_lambda": Number(0, 1),
        "reward_transform": Choice(get_args(RewardTransform)),
        "free_nats": Number(0),
        "kl_coef": Number(0),
        "cont_coef": Number(0),
        "max_grad_norm": Number(0, above=True, infinite=True),  # inf: never scaled down
    }
    action_spaces = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    pretrain: int
    actor_learning_rate: float | Schedule
    critic_learning_rate: float | Schedule
    gamma: float
    reward_transform: RewardTransform
    kl_coef: float
    cont_coef: float

    def _policy_kwargs(self) -> dict[str, Any]:
        own = {"gamma": self.gamma, "reward_transform": self.reward_transform}
        for name in own.keys() & self.policy_kwargs.keys():
            raise ValueError(
                f"policy_kwargs has {name}={self.policy_kwargs[name]!r}, which the agent tells its "
                f"policy itself. Give {name} to {type(self).__name__}, beside policy_kwargs."
            )
        return own | self.policy_kwargs

    def _own_rates(self) -> dict[str, float]:
        return {
            "actor_optimizer": self._rate("actor_learning_rate"),
            "critic_optimizer": self._rate("critic_learning_rate"),
        }

    def _as_learned(self, rewards: Tensor) -> Tensor:
        """Turn rewards into what the reward head learns; from now on the model says so, too."""
        model, name = self.policy.world_model, "reward_transform"
        model.reward_transform = self.policy._arguments[name] = self.reward_transform
        return model.as_learned(rewards)

    def _loss_weights(self) -> dict[str, float]:
        weights = {"kl": self.kl_coef, "cont": self.cont_coef}
        if not self.policy.world_model.learns_discount:
            del weights["cont"]
        return weights

    def _take_due_updates(self, steps: int) -> int:
        """Return how many updates follow a collection; the first are ``pretrain`` at once."""
        begins = self._updates_due is None and self.gradient_steps is None
        updates = super()._take_due_updates(steps)
        return max(updates, self.pretrain) if begins and updates else updates

    def _choose(self, latent: State, generator: th.Generator | None, deterministic: bool) -> Tensor:
        """Choose actions while collecting: uniform ones at first."""
        if self._may_train():
            return super()._choose(latent, generator, deterministic)
        return self.policy.action_codec.sample(len(first_part(latent)), generator, self.device)

    def _choice(self) -> Hashable | None:
        choice = super()._choice()
        return choice if choice is None else (choice, self._may_train())
