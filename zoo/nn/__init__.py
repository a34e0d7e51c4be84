"""Networks, distributions and returns in plain PyTorch; knows nothing of Stable-Baselines3."""

from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.world_model import WorldModel

__all__ = ["Latent", "LatentModel", "WorldModel"]
