"""Commands that read what ``dreamzoo train`` wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import DreamerV3, PlaNet
from dreamzoo.analysis.evaluation import load_changed
from dreamzoo.cli import main
from dreamzoo.common.environments.normalizer import as_in_training, load_normalizer
from dreamzoo.planning import CEM

TINY = ["-p", "size=debug", "-a", "batch_size=2", "batch_length=8", "train_ratio=4"]


def test_a_run_of_normalized_observations_keeps_its_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--normalize", "--eval-episodes", "2", "--eval-every", "50", *TINY]
    common = [*arguments, "--env", "Pendulum-v1", "--out", str(tmp_path)]
    main(["train", "--steps", "100", *common])
    model = tmp_path

    def statistics() -> RunningMeanStd:
        normalizer = load_normalizer(model)
        assert normalizer is not None
        assert not normalizer.training
        assert isinstance(normalizer.obs_rms, RunningMeanStd)
        return normalizer.obs_rms

    assert statistics().count == pytest.approx(101)  # the first observation of an episode, too
    main(["train", "--steps", "160", "--resume", *common])
    later = statistics()
    assert later.count == pytest.approx(161)
    env = as_in_training(make_vec_env("Pendulum-v1"), model)
    assert isinstance(env, VecNormalize)
    obs, raw = env.reset(), np.asarray(env.get_original_obs())
    np.testing.assert_allclose(np.asarray(obs), (raw - later.mean) / np.sqrt(later.var), rtol=1e-5)
    capsys.readouterr()
    script = ["--env", "Pendulum-v1", "--model", str(model)]
    main(["evaluate", *script, "--episodes", "2", "--n-envs", "2"])
    assert json.loads(capsys.readouterr().out)["steps"] == 160
    replay = ["--replay", str(tmp_path), "--length", "9", "--context", "3"]
    main(["dream", "--model", str(model), *replay, "--out", str(tmp_path / "dream")])
    assert (tmp_path / "dream" / "open_loop.png").exists()


def test_a_model_without_statistics_sees_the_environment_as_it_is(tmp_path: Path) -> None:
    env = make_vec_env("Pendulum-v1")
    assert as_in_training(env, tmp_path / "model.zip") is env


def test_sizes_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sizes"])
    table = capsys.readouterr().out
    assert "| `1m` | 640,867 | 686,846 |" in table
    assert "| `12m` | 9,738,019 | 10,494,158 |" in table


@pytest.mark.filterwarnings("error:Training and eval env")
def test_evaluate_and_dream_read_what_train_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--steps", "60", "--eval-every", "1000", "--out", str(tmp_path), *TINY]
    main(["train", "--policy", "CnnPolicy", "--env", "pixels/CartPole-v1", *arguments])
    capsys.readouterr()
    model = ["--model", str(tmp_path)]
    main(["evaluate", "--env", "pixels/CartPole-v1", *model, "--episodes", "4"])
    line = json.loads(capsys.readouterr().out)
    assert line["steps"] == 60
    assert 8 < line["random"]["mean"] < 60
    replay = ["--replay", str(tmp_path), "--length", "9", "--context", "3"]
    main(["dream", *model, *replay, "--out", str(tmp_path / "dream")])
    written = {path.name for path in (tmp_path / "dream").iterdir()}
    assert written == {"observation.mp4", "observation.png", "open_loop.png"}


@pytest.mark.parametrize(
    ("agent", "env", "settings"),
    [
        ("ppo", "CartPole-v1", ["n_steps=20", "batch_size=20", "n_epochs=1"]),
        ("dqn", "CartPole-v1", ["buffer_size=100"]),
        ("sac", "Pendulum-v1", ["buffer_size=100"]),
    ],
)
def test_evaluate_plays_what_train_saved_of_agents_of_sb3(
    agent: str, env: str, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--steps", "40", "--eval-every", "1000", "--normalize", "-a", *settings]
    main(["train", "--agent", agent, "--env", env, "--out", str(tmp_path), *few])
    capsys.readouterr()
    command = ["evaluate", "--env", env, "--model", str(tmp_path), "--episodes", "2", "--trusted"]
    main([*command, "--n-envs", "2"])
    line = json.loads(capsys.readouterr().out)
    assert line["steps"] == 40
    assert np.isfinite(line["agent"]["mean"])
    main([*command, "--n-envs", "2", "--deterministic", "-a", "gamma=0.5"])
    assert json.loads(capsys.readouterr().out)["changed"] == {"gamma": 0.5}


def test_evaluate_plans_as_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PlaNet's planner is no part of what was learned."""
    path = tmp_path / "model.zip"
    tiny = dict(deter=8, stoch=2, units=8, reward_arch=[8])
    PlaNet("MlpPolicy", "Pendulum-v1", candidates=20, elites=4, policy_kwargs=tiny).save(path)

    def planner_of(changed: dict[str, Any]) -> CEM:
        agent = load_changed(path, changed)
        assert isinstance(agent, PlaNet)
        return agent.policy.planner

    shooting = dict(candidates=9, planning_iterations=1, elites=1)
    assert planner_of({}).candidates == 20
    planner = planner_of(shooting)
    assert (planner.candidates, planner.iterations, planner.elites) == (9, 1, 1)
    settings = [f"{name}={value}" for name, value in shooting.items()]
    common = ["--env", "Pendulum-v1", "--model", str(path), "--episodes", "2", "--n-envs", "2"]
    main(["evaluate", *common, "-a", *settings])
    assert json.loads(capsys.readouterr().out)["changed"] == shooting
    with pytest.raises(SystemExit, match="PlaNet got candidate, elite, which no setting"):
        main(["evaluate", *common, "-a", "candidate=9", "elite=1"])


@pytest.mark.parametrize("script", ["evaluate", "ppo-in-dream", "compare"])
def test_a_model_of_another_environment_is_refused(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).save("m")
    with pytest.raises(SystemExit, match="spaces do not match"):
        main([script, "--env", "Pendulum-v1", "--model", "m.zip"])


def test_any_agent_of_sb3_is_trained_in_a_dream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.zip"
    DreamerV3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(size="debug")).save(path)
    command = ["ppo-in-dream", "--model", str(path), "--env", "Pendulum-v1", "--algo", "sac"]
    command += ["--dream-steps", "160", "--n-dreams", "8", "--horizon", "10", "--episodes", "2"]
    main(command)
    plain = json.loads(capsys.readouterr().out)
    main([*command, "-a", "gamma=0.9", "use_sde=True", "learning_starts=80"])
    line = json.loads(capsys.readouterr().out)
    assert line["agent_kwargs"] == dict(gamma=0.9, use_sde=True, learning_starts=80)
    assert line["sac_in_dream"]["mean"] < 0
    assert line["sac_real"]["mean"] < 0
    assert line["sac_in_dream"] != plain["sac_in_dream"]
    assert line["sac_in_dream_promised"] is not None


def test_dreams_are_compared_and_trained_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "--steps", "100", "--eval-every", "1000", "--out", str(tmp_path), *TINY])
    capsys.readouterr()
    model = ["--model", str(tmp_path)]

    few = ["--dream-steps", "500", "--n-dreams", "8", "--episodes", "2"]
    main(["ppo-in-dream", *model, "--replay", str(tmp_path), *few])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["real_steps"] == 100
    for name in ("random", "model", "ppo_in_dream", "ppo_real"):
        assert line[name]["mean"] > 5

    out = ["--out", str(tmp_path / "compare"), "--episodes", "3", "--horizon", "20"]
    main(["compare", *model, "--policy", "random", *out])
    assert "observation   reward  continue" in capsys.readouterr().out
    assert (tmp_path / "compare" / "agreement.png").stat().st_size > 1_000
    saved = json.loads((tmp_path / "compare" / "agreement.json").read_text())
    assert len(saved["dream_returns"]) == 3
    with pytest.raises(SystemExit, match="expected agent, random or one of"):
        main(["compare", *model, "--policy", "nonsense", *out])
