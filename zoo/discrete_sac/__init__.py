"""Soft actor-critic for discrete actions."""

from dreamzoo.discrete_sac.discrete_sac import DiscreteSAC
from dreamzoo.discrete_sac.losses import actor_loss, soft_value, target_entropy
from dreamzoo.discrete_sac.policies import (
    CnnPolicy,
    DiscreteSACPolicy,
    MlpPolicy,
    MultiInputPolicy,
)

__all__ = [
    "CnnPolicy",
    "DiscreteSAC",
    "DiscreteSACPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "actor_loss",
    "soft_value",
    "target_entropy",
]
