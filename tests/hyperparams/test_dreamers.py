"""Published settings of Dreamer V1 and V2 are ones that the agents take, and the papers' own."""

import inspect
from typing import Any

import pytest

from dreamzoo.benchmark import atari
from dreamzoo.dreamer_v1 import DreamerV1, DreamerV1Policy
from dreamzoo.dreamer_v2 import DreamerV2, DreamerV2Policy
from dreamzoo.hyperparams import HYPERPARAMS, published
from dreamzoo.hyperparams.dreamer_v2 import ABLATIONS, GAMES, SCHEDULES

AGENTS: dict[str, tuple[Any, Any]] = {
    "dreamer_v1": (DreamerV1, DreamerV1Policy),
    "dreamer_v2": (DreamerV2, DreamerV2Policy),
}
OF_A_RUN = {"policy", "n_timesteps", "env_kwargs", "policy_kwargs"}


@pytest.mark.parametrize("name", AGENTS)
def test_agents_know_their_settings(name: str) -> None:
    agent, policy = AGENTS[name]
    settings = list(HYPERPARAMS[name].values())
    if name == "dreamer_v2":
        settings += [SCHEDULES, *ABLATIONS.values()]
    for given in settings:
        assert set(given) - OF_A_RUN <= set(inspect.signature(agent).parameters)
        assert set(given.get("policy_kwargs", {})) <= set(inspect.signature(policy).parameters)
        values = {k: v for k, v in given.items() if k in agent.settings}
        for key, value in values.items():
            assert agent.settings[key].read(value) is not None or value is None


def test_atari_has_the_games_of_the_metrics() -> None:
    assert sorted(GAMES) == sorted(atari.games())
    settings = published("dreamer_v2", "atari/pong")
    assert settings["steps"] == 50_000_000
    beside = {"learning_starts": 50_000, "reward_transform": "tanh"}  # the rest are the defaults
    assert dict(settings["agent_kwargs"]) == beside


def test_control_updates_every_five_steps() -> None:
    settings = dict(published("dreamer_v2", "dmc_pixels/walker-walk")["agent_kwargs"])
    assert settings["train_ratio"] / (settings["batch_size"] * 50) == 1 / 5


def test_dreamer_v1_updates_a_hundred_times_after_five_hundred_steps() -> None:
    settings = dict(published("dreamer_v1", "dmc_pixels/walker-walk")["agent_kwargs"])
    agent = inspect.signature(DreamerV1).parameters
    ratio = agent["train_ratio"].default / (50 * 50)
    assert settings["train_freq"] * ratio == 100


def test_schedules_end_after_ten_million_frames() -> None:
    """The paper's ablations begin from these: 2.5M decisions, each of four frames."""
    assert SCHEDULES == {"rho": (0.9, 1.0, 2_500_000), "ent_coef": (3e-3, 3e-4, 2_500_000)}


def test_table_2_has_six_ablations() -> None:
    assert len(ABLATIONS) == 6
