"""Runs without the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import A2C

from dreamzoo.benchmark.runs import Run, check_resumed, train
from dreamzoo.hyperparams import HYPERPARAMS, published


def test_a_run_is_trained_noted_and_resumed(tmp_path: Path) -> None:
    run = Run(
        "a2c",
        "Pendulum-v1",
        tmp_path / "run",
        agent_kwargs=[("n_steps", 4)],
        steps=40,
        eval_every=20,
        eval_episodes=2,
        save_every=20,
    )
    model = train(run)
    assert isinstance(model, A2C)
    assert model.num_timesteps == 40
    assert model.n_steps == 4
    later = train(replace(run, steps=60, resume=True))
    assert later.num_timesteps == 60
    entries = json.loads((run.out / "config.json").read_text())
    assert [entry["args"]["steps"] for entry in entries] == [40, 60]
    assert entries[0]["args"]["out"] == str(run.out)
    assert np.load(run.out / "evaluations.npz")["timesteps"].tolist() == [20, 40, 60]


def test_a_run_of_another_environment_is_not_resumed(tmp_path: Path) -> None:
    run = Run("a2c", "Pendulum-v1", tmp_path)
    with pytest.raises(ValueError, match="There is no run"):
        check_resumed(run)
    (tmp_path / "config.json").write_text(json.dumps([{"args": {"env": "Acrobot-v1"}}]))
    with pytest.raises(ValueError, match="env='Acrobot-v1'; it cannot go on with 'Pendulum-v1'"):
        check_resumed(run)
    with pytest.raises(ValueError, match="cannot go on"):
        train(replace(run, resume=True))
    assert len(json.loads((tmp_path / "config.json").read_text())) == 1


def test_published_settings_are_those_of_the_table() -> None:
    name = "dmc_pixels/cartpole-swingup"
    settings = published("planet", name)
    assert settings["policy"] == HYPERPARAMS["planet"][name]["policy"]
    assert settings["steps"] == HYPERPARAMS["planet"][name]["n_timesteps"]
    assert settings["env_kwargs"] == [("action_repeat", 8)]
    for agent, env in (("planet", "CartPole-v1"), ("sac", name)):
        with pytest.raises(ValueError, match=f"No published settings of {agent} on {env}"):
            published(agent, env)
