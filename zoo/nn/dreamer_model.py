"""World model of the first two Dreamers: images around zero, a discount that may be a constant."""

from typing import Any, Literal, NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.nn.distributions import at_least_float32, soft_bernoulli_loss
from dreamzoo.nn.fast import memory
from dreamzoo.nn.networks.actors import DenseActionDistribution, DenseActor
from dreamzoo.nn.networks.world_models import Endless, NormalHead, unit_variance_loss
from dreamzoo.nn.normal_model import NormalWorldModel
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.imagination import frozen

RewardTransform = Literal["tanh", "identity"]


class Imagined(NamedTuple):
    """
    N trajectories of H steps each, from where they start, time first.

    Unless it was made without a graph, everything but the last has a gradient towards the actions;
    nothing else has one towards the critic, and nothing towards the model.

    :param feat: features of states 0..H, (H + 1, N, F)
    :param policy: the actor's distributions in states 0..H-1, with its gradient
    :param actions: drawn from these, as the dynamics read them, (H, N, A)
    :param reward: of arriving in states 0..H, (H + 1, N); this and what follows is of states 1..H
        alone if the start was not to be judged, (H, N)
    :param discount: after these states
    :param value: of these states, their own rewards included
    :param prediction: the same values but for the last state's, with the gradient of the critic's
        weights alone
    """

    feat: Tensor
    policy: DenseActionDistribution
    actions: Tensor
    reward: Tensor
    discount: Tensor
    value: Tensor
    prediction: Tensor


class DreamerWorldModel(NormalWorldModel):
    """
    World model whose networks read images as ``x / 255 - 0.5``.

    One function does that in training and in acting; nothing is quantized and no noise is added, as
    PlaNet does.

    :param args: of :class:`dreamzoo.nn.world_model.WorldModel`
    :param reward_transform: what its head learns of rewards
    """

    def __init__(self, *args: Any, reward_transform: RewardTransform = "identity") -> None:
        super().__init__(*args)
        self.reward_transform: RewardTransform = reward_transform

    def as_learned(self, rewards: Tensor) -> Tensor:
        return rewards.tanh() if self.reward_transform == "tanh" else rewards

    def inputs(
        self,
        obs: Observation,
        lead: int = 1,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> dict[str, Tensor]:
        return self._move_images(super().inputs(obs, lead, generator, mode=mode), -0.5)

    def outputs(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._move_images(values, 0.5)

    def _move_images(self, values: dict[str, Tensor], by: float) -> dict[str, Tensor]:
        images = {key.name for key in self.codec.image_keys}
        return {name: x + by if name in images else x for name, x in values.items()}

    @property
    def learns_discount(self) -> bool:
        """Whether a head predicts where episodes end."""
        return not isinstance(self.cont, Endless)

    def discount(self, feat: Tensor, gamma: float) -> Tensor:
        """
        Predict the discount after states, with gradient.

        :param feat: features, (..., F)
        :param gamma: the constant of a model that predicts none
        :return: (...); a head's predictions contain gamma already
        """
        if not self.learns_discount:
            return th.full_like(feat[..., 0], gamma)
        return th.sigmoid(at_least_float32(self.cont(feat)))[..., 0]

    def prediction_losses(
        self, reward_feat: Tensor, feat: Tensor, rewards: Tensor, alive: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """
        Compute how badly states predict reward and discount, on average over steps and rows.

        :param reward_feat: features that rewards are predicted from, (B, T, F)
        :param feat: features that the discount is predicted from, (B, T, F)
        :param rewards: of arriving at every step, (B, T)
        :param alive: discount after every step, zero where an episode ended for good, (B, T)
        :return: ``reward``, and with a head for it ``cont``; of that head also the ``discount``
            that it predicts, without gradient, (B, T)
        """
        losses = {"reward": unit_variance_loss(self.reward(reward_feat), rewards).mean()}
        if not self.learns_discount:
            return losses, {}
        logit = self.cont(feat)[..., 0]
        losses["cont"] = soft_bernoulli_loss(logit, alive).mean()
        return losses, {"discount": th.sigmoid(at_least_float32(logit.detach()))}

    def imagine(
        self,
        start: Latent,
        actor: DenseActor,
        critic: NormalHead,
        horizon: int,
        gamma: float,
        generator: th.Generator | None = None,
        *,
        graph: bool = True,
        judge_start: bool = True,
    ) -> Imagined:
        """
        Roll an actor out from every state, with the gradient that it learns from.

        :param start: where to begin, (N, ...)
        :param actor: chooses
        :param critic: judges; a gradient passes through it, as through this model, another is its
            own
        :param horizon: steps H
        :param gamma: the constant discount of a model that predicts none
        :param generator: source of randomness
        :param graph: False keeps no way from actions to what follows
        :param judge_start: False predicts nothing of the states where dreams begin
        """
        with frozen(self):
            path = self.dynamics.imagine(start.detach(), actor, horizon, generator, graph=graph)
            feat = path.feat
            with th.set_grad_enabled(graph and th.is_grad_enabled()):
                judged = feat if judge_start else memory.after_first(feat)
                reward, _ = self.reward.twice(judged)
                # Of the last state nothing is learned: no return begins there.
                values = critic.twice(judged, learned=len(judged) - 1)
                predicted = reward, self.discount(judged, gamma), *values
            return Imagined(feat, path.policy, path.actions, *predicted)
