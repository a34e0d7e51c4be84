"""World model of PlaNet and the first two Dreamers: what it predicts are means of normals."""

from dreamzoo.nn.fast.ranks import joint_losses
from dreamzoo.nn.networks.world_models import NormalHead, WorldModelsDecoder
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.world_model import WorldModel


class NormalWorldModel(WorldModel):
    """World model with unit-variance heads, whose networks read images around zero."""

    decoder: WorldModelsDecoder
    reward: NormalHead

    def start_at(self, obs: Observation) -> None:
        with joint_losses():
            self.decoder.start_at(self.inputs(obs, 2, mode=True))
