"""Every agent has settings in RL Zoo's format, which it takes and which the Zoo cannot spoil."""

import importlib
from typing import Any

import pytest

from dreamzoo import AGENTS
from dreamzoo.hyperparams import HYPERPARAMS

SMALL_TASKS = {"CartPole-v1", "Pendulum-v1"}


def settings_of(name: str) -> Any:
    return importlib.import_module(f"dreamzoo.hyperparams.{name}").hyperparams


@pytest.mark.parametrize("name", AGENTS)
def test_agents_are_built_with_their_settings_of_small_tasks(name: str) -> None:
    settings = settings_of(name)
    lacks = {"planet": {"CartPole-v1"}, "discrete_sac": {"Pendulum-v1"}}.get(name, set())
    assert settings.keys() & SMALL_TASKS == SMALL_TASKS - lacks
    for env in SMALL_TASKS - lacks:
        given = settings[env]
        assert given.pop("n_timesteps") > 0
        assert given.pop("n_envs", 1) > 0
        given.pop("learning_rate", None)  # RL Zoo makes a schedule of it
        made: Any = AGENTS[name](env=env, **given)
        assert made.policy_kwargs.items() >= given.get("policy_kwargs", {}).items()
        for key in given.keys() & {"train_ratio", "n_steps", "gradient_steps", "candidates"}:
            assert getattr(made, key) == given[key]


def test_rates_that_the_zoo_does_not_read_are_read() -> None:
    given = settings_of("merlin")["CartPole-v1"]
    assert given["learning_rate"] == "lin_2e-3"  # the Zoo reads this one
    assert [given["actor_learning_rate"](left) for left in (1.0, 0.5, 0.0)] == [1e-3, 5e-4, 0.0]


@pytest.mark.parametrize("name", AGENTS)
def test_all_that_is_published_and_ends_is_there(name: str) -> None:
    settings = settings_of(name)
    for env, given in HYPERPARAMS.get(name, {}).items():
        assert ("n_timesteps" in given) == (env in settings)
        assert env not in settings or settings[env] == given
    assert all({"policy", "n_timesteps"} <= settings[env].keys() for env in settings)
    assert settings["default"].keys() == {"policy", "n_timesteps"}


def test_what_is_looked_up_may_be_changed() -> None:
    settings = settings_of("discrete_sac")
    settings["CartPole-v1"]["policy_kwargs"]["net_arch"].clear()
    del settings["CartPole-v1"]["n_timesteps"]
    for env in ("CartPole-v1", "Acrobot-v1"):
        assert settings[env]["policy_kwargs"] == {"net_arch": [128, 128]}
        assert settings[env]["n_timesteps"] == 50_000
