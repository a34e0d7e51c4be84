"""DreamerV2."""

from dreamzoo.dreamer_v2.dreamer_v2 import DreamerV2
from dreamzoo.dreamer_v2.losses import balanced_kl, behavior_loss, imagine, world_model_loss
from dreamzoo.dreamer_v2.policies import CnnPolicy, DreamerV2Policy, MlpPolicy, MultiInputPolicy

__all__ = [
    "CnnPolicy",
    "DreamerV2",
    "DreamerV2Policy",
    "MlpPolicy",
    "MultiInputPolicy",
    "balanced_kl",
    "behavior_loss",
    "imagine",
    "world_model_loss",
]
