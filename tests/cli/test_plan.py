"""``dreamzoo plan`` runs as its help says."""

import json
from pathlib import Path
from typing import Any

import pytest

from dreamzoo.cli import main, plan
from dreamzoo.planning.true_planning import published_return

TINY = ["--steps", "3", "--candidates", "20", "--iterations", "2", "--horizon", "3"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main(["plan", *TINY, "--threads", "1", *arguments])
    output = capsys.readouterr()
    assert "episode 1: " in output.err
    assert output.out.count("\n") == 1
    return json.loads(output.out)


def test_prints_one_line_that_the_seed_decides(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--task", "cheetah-run", "--episodes", "2", "--seed"]
    first, again, other = (run(capsys, *arguments, seed) for seed in ("5", "5", "6"))
    assert len(first["returns"]) == first["episodes"] == 2
    assert first["returns"] == again["returns"] != other["returns"]
    assert first["returns"][0] != first["returns"][1]
    assert first["mean_return"] == pytest.approx(sum(first["returns"]) / 2, abs=1e-3)
    spread = abs(first["returns"][0] - first["returns"][1]) / 2
    assert first["std_return"] == pytest.approx(spread, abs=1e-3)
    expected = {
        "task": "cheetah-run",
        "planner": "cem",
        "published_return": None,  # of whole episodes with a longer plan
        "candidates": 20,
        "iterations": 2,
        "horizon": 3,
        "elites": 2,
        "action_repeat": 4,
        "steps": 3,
        "threads": 1,
        "seed": 5,
    }
    assert expected.items() <= first.items()
    assert first["mj_steps_per_second"] > 100


def test_random_shooting_is_one_round_with_one_elite(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--steps", "3", "--candidates", "20", "--horizon", "3", "--threads", "1"]
    main(["plan", *tiny, "--planner", "random_shooting", "--task", "cartpole-swingup"])
    line = json.loads(capsys.readouterr().out)
    assert (line["iterations"], line["elites"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "published"),
    [
        ([], 964),
        (["--candidates", "200"], 964),
        (["--elites", "1"], None),
        (["--horizon", "6"], None),
        (["--iterations", "5"], None),
        (["--action-repeat", "2"], None),
        (["--steps", "10"], None),
        (["--planner", "random_shooting"], None),
    ],
)
def test_the_published_return_stands_beside_the_papers_settings_only(
    arguments: list[str], published: float | None
) -> None:
    args = plan.parse_args(["--task", "reacher-easy", *arguments])
    assert (
        published_return(args.task, plan.make_planner(args), args.action_repeat, args.steps)
        == published
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", "0"], "at least 1"),
        (["--planner", "random_shooting", "--iterations", "3"], "has one round"),
        (["--planner", "random_shooting", "--elites", "3"], "has one round"),
    ],
)
def test_arguments_that_would_be_ignored(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        plan.parse_args(arguments)
    assert message in capsys.readouterr().err


def test_video_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "plan.mp4"
    run(capsys, "--task", "reacher-easy", "--video", str(video))
    assert video.stat().st_size > 1_000


def test_other_tasks_need_an_action_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--task", "walker-stand"])
    assert "give --action-repeat" in capsys.readouterr().err
    line = run(capsys, "--task", "walker-stand", "--action-repeat", "2")
    assert line["published_return"] is None
