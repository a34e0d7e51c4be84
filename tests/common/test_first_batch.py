"""What the first batch decides before the first update, and no later one does."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo import DreamerV1, DreamerV2, PlaNet
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm

#: Of all pixels, of bytes: a bright ground.
BRIGHT = 230


class BrightEnv(gym.Env):
    """Shows one color, with noise."""

    observation_space = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (1,))

    def _look(self) -> np.ndarray:
        return self.np_random.integers(BRIGHT - 5, BRIGHT + 6, (9, 9, 3), np.uint8)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._look(), 0.0, False, False, {}


def ground(agent: WorldModelAlgorithm) -> float:
    """Return the color that an agent's decoder begins from, from 0 to 1."""
    latent = agent.world_model.initial(1)
    image = agent.world_model.decode(latent)
    return float(np.asarray(image).mean()) / 255


@pytest.mark.parametrize("kind", [PlaNet, DreamerV1, DreamerV2])
def test_the_first_update_begins_at_the_color_of_what_is_seen(
    kind: type[WorldModelAlgorithm], tmp_path: Any
) -> None:
    def make() -> WorldModelAlgorithm:
        return kind("CnnPolicy", BrightEnv(), seed=0, learning_rate=1e-6, **kind.smallest)

    agent = make()
    assert ground(agent) == pytest.approx(0.5, abs=0.05)
    agent.learn(40)
    assert agent._n_updates > 0
    assert ground(agent) == pytest.approx(BRIGHT / 255, abs=0.05)
    for parameter in agent.world_model.decoder.parameters():
        parameter.data.mul_(0.5)
    half = ground(agent)
    agent.learn(10)
    assert ground(agent) == pytest.approx(half, abs=0.01)
    agent.save(tmp_path / "agent")
    other = make()
    other.set_parameters(str(tmp_path / "agent.zip"))
    other.learn(40)
    assert ground(other) == pytest.approx(half, abs=0.01)
