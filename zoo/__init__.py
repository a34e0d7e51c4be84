"""World-model agents for people who know Stable-Baselines3 and Gymnasium."""

import gymnasium
from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.dreamer_v3 import DreamerV3
from dreamzoo.planet import PlaNet

__version__ = "0.1.0"

#: Every agent by its RL Zoo name.
AGENTS: dict[str, type[BaseAlgorithm]] = {"dreamer_v3": DreamerV3, "planet": PlaNet}

__all__ = ["AGENTS", "DreamerV3", "PlaNet", "__version__"]

gymnasium.register(
    id="dreamzoo/DreamEnv-v0",
    entry_point="dreamzoo.envs:DreamEnv",
    vector_entry_point="dreamzoo.envs:DreamVectorEnv",
)
