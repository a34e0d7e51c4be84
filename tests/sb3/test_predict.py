"""Acting, beyond the contract: what the state looks like, images, shapes that are refused."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

OBS = np.array([[0.5, -0.5, 1.0], [-1.0, 0.2, 0.0], [0.1, 0.9, -0.3]], np.float32)


@pytest.fixture
def actor(make_agent: Any, shake: Any) -> Any:
    """Return an agent whose actions depend on what it sees and remembers."""
    return shake(make_agent())


@pytest.mark.parametrize(("obs", "n"), [(OBS, 3), (OBS[0], 1)])
def test_the_state_stays_batched(actor: Any, obs: np.ndarray, n: int) -> None:
    state = actor.predict(obs)[1]
    assert all(isinstance(part, np.ndarray) and len(part) == n for part in state)


def test_the_action_of_before_is_remembered(actor: Any) -> None:
    state = dict(zip(actor.policy.memory.names, actor.predict(OBS)[1], strict=True))
    assert np.abs(state["prev_action"]).min() > 0


def test_other_actions_are_drawn(actor: Any) -> None:
    one, two = (actor.predict(OBS)[0] for _ in range(2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("batched", [True, False])
def test_images_come_with_channels_first_or_last(
    make_agent: Any, make_env: Any, shake: Any, batched: bool
) -> None:
    env = make_env(spaces.Box(0, 255, (40, 36, 3), np.uint8))
    agent = shake(make_agent(env, "CnnPolicy"))
    image = env.observation_space.sample()
    image = image[None] if batched else image
    last, _ = agent.predict(image, deterministic=True)
    first, _ = agent.predict(np.moveaxis(image, -1, -3), deterministic=True)
    assert last.shape == ((1, 2) if batched else (2,))
    assert np.array_equal(last, first)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 2, 3)])
def test_observations_of_a_wrong_shape_are_refused(actor: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        actor.predict(np.zeros(shape, np.float32))
