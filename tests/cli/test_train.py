"""``dreamzoo train`` keeps what is needed to resume, and resumes exactly."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dreamzoo import DreamerV3
from dreamzoo.cli import main
from dreamzoo.cli.arguments import parse_value

TINY = ["-p", "size=debug", "-a", "batch_size=2", "batch_length=8", "train_ratio=4"]


def test_train_writes_everything_and_resumes(tmp_path: Path) -> None:

    common = ["--eval-episodes", "2", "--eval-every", "50", "--out", str(tmp_path), *TINY]
    main(["train", "--steps", "100", *common])
    written = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "progress.csv", "evaluations.npz"} <= written
    assert {"model.zip", "replay_buffer.pkl"} <= written
    assert not any(".new." in name for name in written)
    first = (tmp_path / "progress.csv").read_text()
    main(["train", "--steps", "160", "--resume", *common])
    assert DreamerV3.load(tmp_path / "model.zip").num_timesteps == 160
    assert len(json.loads((tmp_path / "config.json").read_text())) == 2
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [50, 100, 150]
    assert (tmp_path / "progress.csv").read_text() == first
    assert (tmp_path / "progress_100.csv").exists()


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
    """Its seeds lie a thousand above the run's, and every evaluation has new ones."""

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
    assert evaluation == [[1027, 1047], [1028, 1048]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("size=1m", ("size", "1m")), ("lr=3e-4", ("lr", 3e-4)), ("d={'a': 1}", ("d", {"a": 1}))],
)
def test_train_reads_values_as_python_or_text(text: str, expected: tuple[str, object]) -> None:
    assert parse_value(text) == expected


@pytest.mark.parametrize("changed", [["--normalize"], ["--n-envs", "2"], ["--env", "Acrobot-v1"]])
def test_train_does_not_go_on_with_other_environments(changed: list[str], tmp_path: Path) -> None:
    common = ["--out", str(tmp_path), "--eval-every", "50", *TINY]
    main(["train", "--steps", "20", *common])
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(SystemExit, match="cannot go on with"):
        main(["train", "--steps", "40", "--resume", *changed, *common])
    assert (tmp_path / "config.json").read_text() == before
    with pytest.raises(SystemExit, match="There is no run"):
        main(["train", "--steps", "40", "--resume", "--out", str(tmp_path / "nothing")])
