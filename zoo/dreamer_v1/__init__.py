"""Dreamer V1."""

from dreamzoo.dreamer_v1.dreamer_v1 import DreamerV1
from dreamzoo.dreamer_v1.losses import behavior_loss, world_model_loss
from dreamzoo.dreamer_v1.policies import CnnPolicy, DreamerV1Policy, MlpPolicy, MultiInputPolicy

__all__ = [
    "CnnPolicy",
    "DreamerV1",
    "DreamerV1Policy",
    "MlpPolicy",
    "MultiInputPolicy",
    "behavior_loss",
    "world_model_loss",
]
