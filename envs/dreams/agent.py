"""What a dream needs of an agent; any that offers this can be dreamed with."""

from typing import Any, Protocol, runtime_checkable

import torch as th
from gymnasium import spaces

from dreamzoo.nn.state import State


@runtime_checkable
class AgentWithModel(Protocol):
    """
    An agent that learns a world model.

    Its policy owns the model and the codecs of observations and actions:
    :class:`dreamzoo.common.policies.world_model.WorldModelPolicy`.
    """

    policy: Any
    observation_space: spaces.Space
    action_space: spaces.Space

    def replay_latents(self, generator: th.Generator | None = None) -> State:
        """
        Filter replayed sequences: states for dreams to begin in, (P, ...).

        :param generator: source of the states' randomness
        """
