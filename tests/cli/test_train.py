"""``dreamzoo train`` keeps what is needed to resume, and resumes exactly."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dreamzoo import DreamerV1, DreamerV3
from dreamzoo.cli import main, train
from dreamzoo.cli.arguments import parse_value
from dreamzoo.common.storage.saves import newest

TINY = ["-p", "size=debug", "-a", "batch_size=2", "batch_length=8", "train_ratio=4"]


def test_train_writes_everything_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--eval-episodes", "2", "--eval-every", "50", "--out", str(tmp_path), *TINY]
    main(["train", "--steps", "100", *common])
    said = f"Trained for 100 steps; {tmp_path} holds the agent and its evaluations.\n"
    assert capsys.readouterr().out.endswith(said)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "progress.csv", "evaluations.npz"} <= written
    assert {"model.zip", "replay_buffer.npz"} <= {path.name for path in newest(tmp_path).iterdir()}
    assert not list(tmp_path.rglob("*.new"))
    first = (tmp_path / "progress.csv").read_text()
    main(["train", "--steps", "160", "--resume", *common])
    assert DreamerV3.load(tmp_path).num_timesteps == 160
    assert len(json.loads((tmp_path / "config.json").read_text())) == 2
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [50, 100, 150]
    assert (tmp_path / "progress.csv").read_text() == first
    assert (tmp_path / "progress_100.csv").exists()


def test_a_training_without_an_evaluation_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "--steps", "20", "--out", str(tmp_path), *TINY])
    said = capsys.readouterr().out
    assert said.endswith("It was never evaluated: an evaluation comes every 2,000 steps.\n")


def test_a_resumed_run_is_evaluated_as_one_in_one_go(tmp_path: Path) -> None:
    """The same model plays the same episodes, so the tables are equal."""
    arguments = ["--eval-episodes", "3", "--eval-every", "40", "--save-every", "40", *TINY]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main(["train", "--steps", "130", *arguments, "--out", str(whole)])
    for steps in ("60", "130"):
        resume = ["--resume"] if parts.exists() else []
        main(["train", "--steps", steps, *arguments, *resume, "--out", str(parts)])
    one, other = (np.load(folder / "evaluations.npz") for folder in (whole, parts))
    assert one["timesteps"].tolist() == [40, 80, 120]
    np.testing.assert_array_equal(one["results"], other["results"])


def test_evaluation_plays_other_episodes_than_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every evaluation has seeds of its own, far from those of the run and of other evaluations."""

    seeds: list[list[int]] = []  # of every environment, in the order of their making

    class Watched(gym.Wrapper):
        def __init__(self, name: str) -> None:
            super().__init__(gym.make(name))
            self.seen: list[int] = []
            seeds.append(self.seen)

        def reset(self, **kwargs: Any) -> Any:
            if kwargs.get("seed") is not None:
                self.seen.append(kwargs["seed"])
            return super().reset(**kwargs)

    monkeypatch.setattr("dreamzoo.benchmark.runs.make_env", Watched)
    common = ["--eval-episodes", "2", "--eval-every", "20", "--out", str(tmp_path), *TINY]
    main(["train", "--steps", "40", "--seed", "7", *common])
    training, *evaluation = seeds
    assert training == [7]
    first, second = evaluation  # of two environments, with two evaluations each
    assert [second[i] - first[i] for i in range(2)] == [1, 1]
    assert min(first) > 1_000
    assert abs(first[0] - first[1]) > 1_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [("size=1m", ("size", "1m")), ("lr=3e-4", ("lr", 3e-4)), ("d={'a': 1}", ("d", {"a": 1}))],
)
def test_train_reads_values_as_python_or_text(text: str, expected: tuple[str, object]) -> None:
    assert parse_value(text) == expected


@pytest.mark.parametrize("text", ["size", "=1m", "a b=1", ""])
def test_what_is_no_pair_of_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected key=value"):
        parse_value(text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, which no test changes."""
    out = tmp_path_factory.mktemp("finished")
    main(["train", "--steps", "20", "--seed", "3", "--out", str(out), *TINY])
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """Everything that lies in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_new_run_does_not_overwrite_an_earlier_one(finished: Path) -> None:
    before = contents(finished)
    said = r"holds a run of dreamer_v3 on CartPole-v1 to 20 steps .*saves\.json.*--resume.*--out"
    with pytest.raises(SystemExit, match=said):
        main(["train", "--steps", "20", "--out", str(finished), *TINY])
    assert contents(finished) == before


@pytest.mark.parametrize("name", ["model.zip", "progress_40.csv", "vecnormalize.pkl"])
def test_files_without_a_config_are_not_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("of someone")
    with pytest.raises(SystemExit, match=f"holds files of an earlier run \\({name}\\)"):
        main(["train", "--steps", "20", "--out", str(tmp_path), *TINY])
    assert contents(tmp_path) == {name: b"of someone"}


def test_overwriting_leaves_nothing_of_the_run_and_all_else(tmp_path: Path) -> None:
    """Logs of an earlier, resumed run would be read as those of the new one."""
    (tmp_path / "notes.txt").write_text("mine")
    common = ["--out", str(tmp_path), *TINY]
    for more in (["--steps", "20"], ["--steps", "30", "--resume"]):
        main(["train", *more, *common])
    earlier = contents(tmp_path).keys()
    assert {"progress.csv", "progress_20.csv", "log_20.txt"} <= earlier
    main(["train", "--steps", "10", "--overwrite", "--seed", "5", *common])
    now = contents(tmp_path)
    assert now["notes.txt"] == b"mine"
    assert not {"progress_20.csv", "log_20.txt"} & now.keys()
    assert [e["args"]["seed"] for e in json.loads(now["config.json"])] == [5]
    assert len([name for name in now if name.startswith("events.")]) == 1


def test_a_start_that_is_refused_leaves_the_earlier_run_and_no_new_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    for out in (finished, tmp_path / "new"):
        with pytest.raises(SystemExit, match="CartPol"):
            main(["train", "--env", "CartPol-v1", "--out", str(out), "--overwrite"])
        with monkeypatch.context() as machine:
            machine.setattr("dreamzoo.common.replay_storage.physical_memory", lambda: 1_000)
            with pytest.raises(SystemExit, match=r"does not fit.*Lower buffer_size"):
                main(["train", "--steps", "20", "--out", str(out), "--overwrite", *TINY])
    assert contents(finished) == before
    assert not (tmp_path / "new").exists()


def test_resuming_and_overwriting_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--resume", "--overwrite"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_folder_is_all_that_resuming_needs(tmp_path: Path) -> None:
    """Agent, environment, seed and the rest are those of the run; steps are all that is left."""
    out = ["--out", str(tmp_path)]
    begun = ["--agent", "dreamer_v1", "--env", "Pendulum-v1", "--n-envs", "2", "--seed", "7"]
    begun += ["-e", "g=9.0", "--eval-every", "20", "--eval-episodes", "2", "--save-every", "10"]
    begun += ["-p", "deter=8", "stoch=3", "units=8", "net_arch=[8]", "--normalize"]
    begun += ["-a", "batch_size=2", "batch_length=4", "horizon=3", "learning_starts=11"]
    begun += ["train_ratio=4", "pretrain=1"]
    main(["train", "--steps", "20", *begun, *out])
    main(["train", "--resume", "--steps", "40", *out])
    first, second = (e["args"] for e in json.loads((tmp_path / "config.json").read_text()))
    assert second == {**first, "steps": 40, "resume": True}
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [20, 40]
    assert DreamerV1.load(tmp_path).num_timesteps == 40


@pytest.mark.parametrize(
    ("changed", "asked", "had"),
    [
        (["--normalize"], "normalize=True", "normalize=False"),
        (["--n-envs", "2"], "n_envs=2", "n_envs=1"),
        (["--env", "Acrobot-v1"], "env='Acrobot-v1'", "env='CartPole-v1'"),
        (["--agent", "ppo"], "agent='ppo'", "agent='dreamer_v3'"),
        (["--policy", "CnnPolicy"], "policy='CnnPolicy'", "policy='MlpPolicy'"),
        (["--seed", "4"], "seed=4", "seed=3"),
        (["--eval-episodes", "2"], "eval_episodes=2", "eval_episodes=10"),
        (["--deterministic-eval"], "deterministic_eval=True", "deterministic_eval=False"),
        (["-p", "size=1m"], "size='1m'", "size='debug'"),
        (["-a", "batch_size=9"], "batch_size=9", "batch_size=2"),
        (["-a", "horizon=5"], "horizon=5", "no horizon among its agent_kwargs"),
        (["-e", "gravity=1"], "gravity=1", "no gravity among its env_kwargs"),
        (["--published"], r"published=\[\]", "published=None"),
        (["--seed", "4", "-a", "batch_size=9"], "batch_size=9, seed=4", "batch_size=2, seed=3"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(
    changed: list[str], asked: str, had: str, finished: Path
) -> None:
    before = contents(finished)
    said = f"cannot go on with {asked}: it has {had}\\. Only steps, .* and threads .* can differ"
    with pytest.raises(SystemExit, match=said):
        main(["train", "--resume", "--steps", "40", *changed, "--out", str(finished)])
    assert contents(finished) == before


def test_settings_that_are_said_again_are_those_of_the_run(finished: Path) -> None:
    again = ["--resume", "--out", str(finished), "--seed", "3", "-a", "train_ratio=4"]
    run = train.parse_args([*again, "--env", "CartPole-v1", "--threads", "5", "--steps", "60"])
    whole = [("batch_size", 2), ("batch_length", 8), ("train_ratio", 4)]
    assert (run.agent_kwargs, run.threads, run.steps) == (whole, 5, 60)


def test_a_run_without_a_model_or_without_steps_to_do_is_not_resumed(
    finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"has made 20 of 20 steps\. Give more \(--steps\)"):
        main(["train", "--resume", "--out", str(finished)])
    with pytest.raises(SystemExit, match="There is no run"):
        main(["train", "--resume", "--out", str(tmp_path)])
    config = tmp_path / "config.json"
    config.write_bytes((finished / "config.json").read_bytes())
    with pytest.raises(SystemExit, match=r"ended before it was saved.*--overwrite"):
        main(["train", "--resume", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"nothing was begun\. Take another folder"):
        main(["train", "--out", str(tmp_path)])
    for text in ("", "[]", "{}", "[1]", '[{"args": 5}]'):
        config.write_text(text)
        with pytest.raises(SystemExit, match="is not what dreamzoo train writes"):
            main(["train", "--resume", "--out", str(tmp_path)])


def test_without_sb3_contrib_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    said = r'^sb3_contrib is not .* pip install "dreamzoo\[contrib\]"'
    with pytest.raises(SystemExit, match=said):
        main(["train", "--agent", "recurrent_ppo", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        (["--env", "minatar/breakout"], "CnnPolicy"),
        (["--env", "minigrid/MemoryS7", "--agent", "merlin"], "CnnPolicy"),
        (["--env", "minatar/breakout", "--policy", "MlpPolicy"], "MlpPolicy"),
        (["--env", "minatar/breakout", "--agent", "dqn"], "MlpPolicy"),
        (["--env", "minigrid/MemoryS7", "-e", "previous_action=True"], "MultiInputPolicy"),
        ([], "MlpPolicy"),
    ],
)
def test_boards_are_seen_as_images_unless_asked_otherwise(
    arguments: list[str], policy: str
) -> None:
    assert train.parse_args(arguments).policy == policy


def test_a_board_is_trained_on_with_the_policy_that_picks_itself(tmp_path: Path) -> None:
    pytest.importorskip("minatar", reason='needs pip install "dreamzoo[minatar]"')
    few = ["--eval-episodes", "1", "--eval-every", "40", "--steps", "40", "--out", str(tmp_path)]
    main(["train", "--env", "minatar/breakout", *few, *TINY])
    model = DreamerV3.load(tmp_path)
    assert type(model.policy).__name__ == "CnnPolicy"
    assert model.observation_space.shape == (10, 10, 4)
    main(["train", "--resume", *few[:-4], "--steps", "60", "--out", str(tmp_path)])
    assert DreamerV3.load(tmp_path).num_timesteps == 60
