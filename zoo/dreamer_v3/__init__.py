"""DreamerV3."""

from dreamzoo.dreamer_v3.dreamer_v3 import DreamerV3
from dreamzoo.dreamer_v3.losses import imagination_loss, replay_loss, world_model_loss
from dreamzoo.dreamer_v3.policies import CnnPolicy, Dream, MlpPolicy, MultiInputPolicy
from dreamzoo.dreamer_v3.sizes import SIZES, Size, get_size

__all__ = [
    "SIZES",
    "CnnPolicy",
    "Dream",
    "DreamerV3",
    "MlpPolicy",
    "MultiInputPolicy",
    "Size",
    "get_size",
    "imagination_loss",
    "replay_loss",
    "world_model_loss",
]
