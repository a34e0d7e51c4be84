"""What PlaNet and the Dreamers are: agents that learn a world model from replayed windows."""

from collections.abc import Mapping
from typing import ClassVar

from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.replay_agent import ReplayAgent
from dreamzoo.common.settings import Setting


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
