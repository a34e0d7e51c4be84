"""Runs without the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C

import dreamzoo
from dreamzoo.benchmark.run_config import Run, continued, note_run
from dreamzoo.benchmark.runs import train
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


def test_a_run_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    run = Run("a2c", "Pendulum-v1", tmp_path)
    with pytest.raises(ValueError, match="There is no run"):
        continued(vars(run))
    (tmp_path / "config.json").write_text(json.dumps([{"args": {"env": "Acrobot-v1"}}]))
    said = "cannot go on with env='Pendulum-v1': it has env='Acrobot-v1'"
    with pytest.raises(ValueError, match=said):
        train(replace(run, resume=True))
    assert len(json.loads((tmp_path / "config.json").read_text())) == 1


#: What a command line can say that JSON does not give back as it was.
NOT_OF_JSON = [("a", (1, (2.5, "x"))), ("b", {1: (2,)}), ("c", {"python": "1"}), ("d", [1, {2, 3}])]


def test_arguments_of_environments_survive_their_file(tmp_path: Path) -> None:
    run = Run("a2c", "Pendulum-v1", tmp_path, env_kwargs=[*NOT_OF_JSON, ("e", "(1, 2)")])
    note_run(run)
    (tmp_path / "model.zip").touch()
    assert continued({"out": tmp_path}).env_kwargs == run.env_kwargs
    assert continued({"out": tmp_path, "env_kwargs": NOT_OF_JSON}).env_kwargs == run.env_kwargs


def test_tuples_that_older_versions_noted_as_lists_are_no_difference(tmp_path: Path) -> None:
    run = Run("dreamer_v2", "Pendulum-v1", tmp_path, agent_kwargs=[("rho", (0.9, 1.0, 5))])
    entry = {"args": {**vars(run), "out": "", "agent_kwargs": [["rho", [0.9, 1.0, 5]]]}}
    (tmp_path / "config.json").write_text(json.dumps([entry]))
    (tmp_path / "model.zip").touch()
    assert continued(vars(run)).resume
    with pytest.raises(ValueError, match="cannot go on with rho"):
        continued(vars(replace(run, agent_kwargs=[("rho", (0.9, 1.0, 6))])))


def test_a_rate_falls_to_zero_over_a_run_and_its_resumption(tmp_path: Path) -> None:
    run = Run(
        "rl_lstm",
        "CartPole-v1",
        tmp_path / "run",
        policy_kwargs=[("size", "debug")],
        agent_kwargs=[("n_steps", 10), ("learning_rate", "lin_0.01")],
        steps=20,
        eval_every=20,
        eval_episodes=1,
        save_every=20,
    )
    agent = train(run)
    assert agent.logger.name_to_value["train/learning_rate"] == 0.0
    assert agent.policy.optimizer.param_groups[0]["lr"] == 0.0
    agent = train(replace(run, steps=80, resume=True))
    assert agent.lr_schedule(0.25) == pytest.approx(0.0025)
    assert agent.num_timesteps == 80
    with pytest.raises(ValueError, match=r"learning_rate=lin_fast must be lin_ and the number"):
        train(replace(run, out=tmp_path / "bad", agent_kwargs=[("learning_rate", "lin_fast")]))


def test_published_settings_are_those_of_the_table() -> None:
    name = "dmc_pixels/cartpole-swingup"
    settings = published("planet", name)
    assert settings["policy"] == HYPERPARAMS["planet"][name]["policy"]
    assert settings["steps"] == HYPERPARAMS["planet"][name]["n_timesteps"]
    assert settings["env_kwargs"] == [("action_repeat", 8)]
    with pytest.raises(ValueError, match="No published settings of planet on CartPole-v1"):
        published("planet", "CartPole-v1")
    with pytest.raises(ValueError, match=r"No settings of sac .* only those of .*planet"):
        published("sac", name)


def test_recurrent_ppo_is_trained_evaluated_resumed_and_loaded(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib", reason='needs pip install "dreamzoo[contrib]"')
    run = Run(
        "recurrent_ppo",
        "dreamzoo/CardGame-v0",
        tmp_path / "run",
        env_kwargs=[("n_cards", 4), ("previous_action", True)],
        policy="MultiInputPolicy",
        policy_kwargs=[("lstm_hidden_size", 8)],
        agent_kwargs=[("n_steps", 16), ("batch_size", 16)],
        n_envs=2,
        steps=64,
        eval_every=32,
        eval_episodes=2,
        save_every=32,
        device="cpu",
    )
    model = train(run)
    assert isinstance(model, contrib.RecurrentPPO)
    assert isinstance(model.observation_space, spaces.Dict)
    assert set(model.observation_space) == {"obs", "previous_action", "previous_reward"}
    again = train(replace(run, steps=96, resume=True))
    assert again.num_timesteps == 96
    assert np.load(run.out / "evaluations.npz")["timesteps"].tolist() == [32, 64, 96]
    loaded = dreamzoo.load(run.out, device="cpu", trusted=True)
    assert type(loaded) is contrib.RecurrentPPO


@pytest.mark.learning
def test_recurrent_ppo_solves_a_short_maze(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib", reason='needs pip install "dreamzoo[contrib]"')
    run = Run(
        "recurrent_ppo",
        "dreamzoo/TMaze-v0",
        tmp_path / "run",
        env_kwargs=[("length", 3)],
        policy_kwargs=[("lstm_hidden_size", 32)],
        agent_kwargs=[
            *(("n_steps", 16), ("batch_size", 256), ("n_epochs", 5)),
            *(("learning_rate", 2e-3), ("ent_coef", 0.01)),
        ],
        n_envs=16,
        steps=14_000,
        eval_every=14_000,
        eval_episodes=100,
        save_every=14_000,
        device="cpu",
    )
    train(run)
    assert np.load(run.out / "evaluations.npz")["results"].mean() > 0.9
