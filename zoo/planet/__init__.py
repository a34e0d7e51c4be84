"""PlaNet."""

from dreamzoo.planet.planet import PlaNet
from dreamzoo.planet.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, PlaNetPolicy

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "PlaNet", "PlaNetPolicy"]
