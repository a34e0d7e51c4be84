"""What RL Zoo's own tests let its commands do, done with the agents here."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import dreamzoo
from dreamzoo import AGENTS
from dreamzoo.rl_zoo.commands import main
from tests.sb3.test_rl_zoo import COMMON, SMALL_TASKS, STEPS, TRAINING, smallest, zoo

__all__ = ["zoo"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("zoo")]
#: Few trials, all of them short.
TRIALS = ["-optimize", "--n-evaluations", "2", "--eval-episodes", "1", "--no-optim-plots"]
TRIALS += ["--n-startup-trials", "1", "--n-jobs", "1"]


def task(name: str) -> list[str]:
    return ["--algo", name, "--env", SMALL_TASKS[name], *COMMON]


@pytest.mark.parametrize("name", AGENTS)
def test_environments_of_training_and_evaluation_differ(name: str, tmp_path: Path) -> None:
    """And what was saved goes on, with its replay, where the same command names it."""
    key = "g" if SMALL_TASKS[name] == "Pendulum-v1" else "sutton_barto_reward"
    kwargs = ["--env-kwargs", f"{key}:0", "--eval-env-kwargs", f"{key}:1"]
    replay = ["--save-replay-buffer"] if hasattr(AGENTS[name], "save_replay_buffer") else []
    command = ["train", *task(name), *TRAINING, *kwargs, *replay, "-P", *smallest(name)]
    main(command)
    run = tmp_path / "logs" / name / f"{SMALL_TASKS[name]}_1"
    assert (run / "replay_buffer.pkl").exists() == bool(replay)
    main([*command, "-i", str(run / f"{SMALL_TASKS[name]}.zip")])
    assert (run.parent / f"{SMALL_TASKS[name]}_2" / f"{SMALL_TASKS[name]}.zip").exists()


@pytest.mark.parametrize("name", AGENTS)
def test_a_checkpoint_is_played_by_its_steps(name: str, capsys: Any) -> None:
    main(["train", *task(name), *TRAINING, "--save-freq", str(STEPS // 2), *smallest(name)])
    for which in (["--load-checkpoint", str(STEPS // 2)], ["--load-best", "-P"]):
        capsys.readouterr()
        main(["enjoy", *task(name), "-f", "logs", "-n", "250", "--no-render", *which])
        assert "Mean reward" in capsys.readouterr().out


@pytest.mark.parametrize("name", AGENTS)
def test_settings_come_from_files(name: str, tmp_path: Path) -> None:
    """Of YAML with an entry for any environment, and of Python."""
    settings = {**AGENTS[name].smallest, "policy": "MlpPolicy", "n_timesteps": STEPS}  # type: ignore[attr-defined]
    policy_kwargs = settings.pop("policy_kwargs")
    lines = [f"  {key}: {value!r}" for key, value in settings.items()]
    lines.append(f'  policy_kwargs: "{policy_kwargs!r}"')
    yaml, python = tmp_path / "default.yml", tmp_path / "settings.py"
    yaml.write_text("\n".join(["default:", *lines]))
    settings["policy_kwargs"] = policy_kwargs
    python.write_text(f"hyperparams = {{{SMALL_TASKS[name]!r}: {settings!r}}}")
    for count, file in enumerate((yaml, python), start=1):
        main(["train", *task(name), "-conf", str(file)])
        run = tmp_path / "logs" / name / f"{SMALL_TASKS[name]}_{count}"
        assert (run / f"{SMALL_TASKS[name]}.zip").exists()
    missing = tmp_path / "missing.yml"
    missing.write_text("\n".join(["Acrobot-v1:", *lines]))
    with pytest.raises((SystemExit, ValueError), match=rf"^1$|not found .*{SMALL_TASKS[name]}"):
        main(["train", *task(name), "-conf", str(missing)])


@pytest.mark.parametrize("name", AGENTS)
def test_callbacks_and_wrappers_are_settings(name: str, tmp_path: Path) -> None:
    wrappers = {
        "callback": "rl_zoo3.callbacks.RawStatisticsCallback",
        "env_wrapper": ["rl_zoo3.wrappers.TimeFeatureWrapper"],
        "vec_env_wrapper": {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": 2}},
    }
    board = ["--tensorboard-log", str(tmp_path / "board")]  # which the callback insists on
    main(["train", *task(name), *TRAINING, *board, *smallest(name, **wrappers)])
    assert list((tmp_path / "board").rglob("events*"))
    env = SMALL_TASKS[name]
    agent = dreamzoo.load(tmp_path / "logs" / name / f"{env}_1" / f"{env}.zip")
    seen = len(gym.make(env).observation_space.sample())
    assert agent.observation_space.shape == (2 * (seen + 1),)


def optimize(name: str, *rest: str) -> None:
    main(["train", *task(name), "-n", str(STEPS), *TRIALS, *rest, *smallest(name)])


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("pruner", ["none", "halving", "median"])
def test_every_way_of_searching(sampler: str, pruner: str, tmp_path: Path) -> None:
    optimize("dreamer_v3", "--n-trials", "2", "--sampler", sampler, "--pruner", pruner)
    assert len(list((tmp_path / "logs/dreamer_v3").glob("report_*.csv"))) == 1


@pytest.mark.parametrize("name", AGENTS)
def test_a_trial_that_was_found_is_trained(name: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    stored = ["--storage", str(tmp_path / "demo.log"), "--study-name", "demo"]
    paths = ["--optimization-log-path", str(tmp_path / "trials")]
    optimize(name, "--n-trials", "2", "--sampler", "random", "--pruner", "median", *stored, *paths)
    assert (tmp_path / "trials/trial_1/evaluations.npz").exists()
    main(["train", *task(name), *TRAINING, *stored, "--trial-id", "1", *smallest(name)])
    env = SMALL_TASKS[name]
    assert list((tmp_path / "logs" / name).glob(f"{env}_*/{env}.zip"))


def test_workers_share_their_trials(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path}/study.db"
    shared = ["--storage", storage, "--study-name", "shared", "--max-total-trials", "3"]
    for _ in range(3):  # one after the other: the last one has nothing left to do
        optimize("discrete_sac", "--n-trials", "2", *shared)
    assert len(optuna.load_study(study_name="shared", storage=storage).trials) == 3
