"""What a dream needs of an agent; any that offers this can be dreamed with."""

from typing import Any, Protocol, runtime_checkable

import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.checks import ObservationChecker
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.observations import ObservationCodec
from dreamzoo.nn.state import State


class PolicyWithModel(Protocol):
    """
    A policy that owns a learned model and the codecs of observations and actions.

    :class:`dreamzoo.common.policies.world_model.WorldModelPolicy` is one, whatever it remembers.
    """

    world_model: LatentModel
    observation_codec: ObservationCodec
    observation_checker: ObservationChecker
    action_codec: ActionCodec
    #: What products multiply, and whether steps on CUDA are recorded as graphs.
    precision: Any
    cuda_graph: bool
    training: bool

    @property
    def device(self) -> th.device:
        """Where the model is."""

    def value(self, latent: State) -> Tensor | None:
        """Estimate the return that follows states, (n, ...) to (n,); None without a critic."""


@runtime_checkable
class AgentWithModel(Protocol):
    """
    An agent that learns a world model, with a replay or without one.

    ``policy`` is a :class:`PolicyWithModel`.
    """

    policy: Any
    observation_space: spaces.Space
    action_space: spaces.Space

    def replay_latents(self, generator: th.Generator | None = None) -> State:
        """
        Filter what was recorded: states for dreams to begin in, (P, ...).

        :param generator: source of the states' randomness
        :raises ValueError: if nothing is recorded
        """
