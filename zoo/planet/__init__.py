"""PlaNet."""

from dreamzoo.planet.losses import overshooting_loss, world_model_loss
from dreamzoo.planet.planet import PlaNet
from dreamzoo.planet.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, PlaNetPolicy

__all__ = [
    "CnnPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "PlaNet",
    "PlaNetPolicy",
    "overshooting_loss",
    "world_model_loss",
]
