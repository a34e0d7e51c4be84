"""The policy side that all world-model agents share: acting through a filtered latent."""

from typing import NamedTuple

import torch as th

from dreamzoo.common.policies.recurrent import Choice, RecurrentPolicy
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import in_own_precision
from dreamzoo.nn.state import State
from dreamzoo.nn.world_model import WorldModel


class ActingState(NamedTuple):
    """
    What an agent remembers between two steps.

    :param latent: state after the previous observation, (n, ...)
    :param prev_action: encoded action chosen then, (n, A)
    """

    latent: State
    prev_action: th.Tensor


class WorldModelPolicy(RecurrentPolicy):
    """
    Owns a world model and whatever acts in it; remembers the latent that it has filtered.

    Subclasses build ``world_model`` and choose actions from latents. One that remembers anything
    else than :class:`ActingState` overrides :meth:`initial_state` and :meth:`act`, which gives
    ``choose`` the model's state after the observation: planners and dreams go on from there.

    :param observation_space: observation space
    :param action_space: action space
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class
    :param plumbing: what all policies share, see :class:`PolicyPlumbing`
    """

    world_model: LatentModel

    def _set_world_model(self, world_model: WorldModel) -> None:
        """Own a world model; its encoder also gets the name that SB3 has for it."""
        self.world_model = world_model
        self._show_encoder(world_model.encoder)

    def initial_state(self, n: int) -> State:
        latent = self.world_model.initial(n)
        return ActingState(latent, self._place.new_zeros(n, self.action_codec.dim))

    @th.no_grad()
    @in_own_precision
    def act(
        self,
        obs: Observation,
        state: State,
        is_first: th.Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: Choice | None = None,
    ) -> tuple[th.Tensor, State]:
        latent = self.world_model.observe(
            state.latent, state.prev_action, obs, is_first, generator, mode=deterministic
        )
        action = (choose or self.choose)(latent, generator, deterministic)
        return action, ActingState(latent, self.action_codec.encode(action))

    def value(self, latent: State) -> th.Tensor | None:
        """Estimate the return that follows states, (n, ...) to (n,); None without a critic."""
        return None
