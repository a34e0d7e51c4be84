"""DreamerV3."""

from dreamzoo.dreamer_v3.dreamer_v3 import DreamerV3
from dreamzoo.dreamer_v3.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "DreamerV3", "MlpPolicy", "MultiInputPolicy"]
