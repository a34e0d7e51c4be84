"""
Wrappers for dreams and real environments, in the array type of their input.

Single environments here, batches of them in :mod:`dreamzoo.wrappers.vector`.
"""

# gymnasium's own repeats in numpy and torch alike: it computes with nothing but the reward.
from gymnasium.wrappers import RepeatAction

from dreamzoo.wrappers import vector
from dreamzoo.wrappers.array_conversion import NumpyToTorch, TorchToNumpy
from dreamzoo.wrappers.episode_discount import EpisodeDiscount
from dreamzoo.wrappers.sb3 import VecPreviousActionReward
from dreamzoo.wrappers.staggered_start import StaggeredStart
from dreamzoo.wrappers.stateful_observation import PreviousActionReward
from dreamzoo.wrappers.transform_action import NormalizeAction, OneHotAction
from dreamzoo.wrappers.transform_observation import SymlogObservation
from dreamzoo.wrappers.transform_reward import SymlogReward, TanhReward

__all__ = [
    "EpisodeDiscount",
    "NormalizeAction",
    "NumpyToTorch",
    "OneHotAction",
    "PreviousActionReward",
    "RepeatAction",
    "StaggeredStart",
    "SymlogObservation",
    "SymlogReward",
    "TanhReward",
    "TorchToNumpy",
    "VecPreviousActionReward",
    "vector",
]
