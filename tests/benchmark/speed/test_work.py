"""What is timed is what was published."""

from gymnasium import spaces

from dreamzoo import AGENTS
from dreamzoo.benchmark.speed.work import MODEL_AGENTS, PLAIN, Work, make_model, settings_of


def test_agents_have_their_published_settings() -> None:
    control, atari = (settings_of(Work("dreamer_v2", task=task)) for task in ("control", "atari"))
    assert control["batch_size"] == 16
    assert control["policy_kwargs"] == {"deter": 200, "cont": False}
    assert control["rho"] == 0.0
    assert "batch_size" not in atari  # 50, as the agent's own
    assert settings_of(Work("dreamer_v1")) == {}
    assert settings_of(Work("dreamer_v3", size="12m")) == {"policy_kwargs": {"size": "12m"}}


def test_given_shapes_replace_published_ones() -> None:
    shape = {"batch_size": 3, "batch_length": 4, "horizon": 5}
    given = settings_of(Work("dreamer_v2", batch=3, length=4, horizon=5))
    assert {name: given[name] for name in shape} == shape


def test_a_replay_is_filled_before_anything_is_timed() -> None:
    model = make_model(Work("dreamer_v1", "image", "atari", batch=2, length=3), PLAIN)
    assert model.observation_space.shape == (1, 64, 64)
    assert isinstance(model.action_space, spaces.Discrete)
    assert model.replay_buffer is not None
    assert model.replay_buffer.n_windows() >= 2 * 3
    assert model._n_updates == 0


def test_every_agent_with_a_world_model_and_a_replay_can_be_timed() -> None:
    assert {"planet", "dreamer_v1", "dreamer_v2", "dreamer_v3"} <= set(MODEL_AGENTS)
    assert MODEL_AGENTS.items() <= AGENTS.items()
