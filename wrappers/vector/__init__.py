"""
Wrappers for batches of dreams and real environments, in the array type of their input.

In torch they run on any device and never wait for it; only the two conversions do.
"""

from dreamzoo.wrappers.vector.array_conversion import NumpyToTorch, TorchToNumpy
from dreamzoo.wrappers.vector.episode_discount import EpisodeDiscount
from dreamzoo.wrappers.vector.stateful_action import RepeatAction
from dreamzoo.wrappers.vector.stateful_observation import PreviousActionReward
from dreamzoo.wrappers.vector.transform_action import NormalizeAction, OneHotAction
from dreamzoo.wrappers.vector.transform_observation import SymlogObservation
from dreamzoo.wrappers.vector.transform_reward import SymlogReward, TanhReward

__all__ = [
    "EpisodeDiscount",
    "NormalizeAction",
    "NumpyToTorch",
    "OneHotAction",
    "PreviousActionReward",
    "RepeatAction",
    "SymlogObservation",
    "SymlogReward",
    "TanhReward",
    "TorchToNumpy",
]
