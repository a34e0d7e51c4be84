"""Runs on a Ray cluster of two nodes: whatever is killed, they come to the same results."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch as th

import dreamzoo
from dreamzoo.benchmark.comparisons import of_envs
from dreamzoo.benchmark.many_runs import collect_all
from dreamzoo.benchmark.results.evaluations import read_rows
from dreamzoo.benchmark.runs import train
from dreamzoo.launch import ELSEWHERE, Attempt, on_ray
from tests.launch.deadly import VARIABLE

ROOT = Path(__file__).parents[2]
DEADLY = "tests.launch.deadly:Deadly-v0"


def on_two_nodes(folder: Path, *words: str, victims: dict[str, str] | None = None) -> str:
    """Run a scenario, and return what it prints."""
    pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
    command = [sys.executable, "-m", "tests.launch.two_nodes", str(folder), *words]
    env = os.environ | {VARIABLE: json.dumps(victims or {})}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Find out on one cluster what becomes of attempts; starting it takes longest."""
    folder = tmp_path_factory.mktemp("attempts")
    on_two_nodes(folder, "attempts")
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found | {"cwd there": (folder / "fine.log").read_text().strip()}


def test_what_becomes_of_an_attempt_on_a_cluster_is_told(attempts: dict[str, Any]) -> None:
    fine, fails, killed = attempts["outcomes"]
    assert (fine, fails) == ([0, ""], [1, ""])
    assert killed == [-9, "its worker process is gone (WorkerCrashedError)"]


def test_processes_are_started_where_the_command_is(attempts: dict[str, Any]) -> None:
    assert attempts["cwd there"] == attempts["cwd"]


def test_a_node_that_joins_later_is_used_and_its_death_is_a_kill(attempts: dict[str, Any]) -> None:
    code, reason = attempts["node died"]
    assert code == -9
    assert "its worker process is gone" in reason


def test_a_node_that_does_not_see_the_folder_is_avoided(attempts: dict[str, Any]) -> None:
    assert attempts["elsewhere"] == ELSEWHERE
    assert attempts["waited"]
    assert attempts["avoided"] == [0, 0]


def test_however_a_call_ends_nothing_is_left_on_the_cluster(attempts: dict[str, Any]) -> None:
    assert 0 not in attempts["after"]
    assert attempts["closed"] == ["one.pid.closed", "two.pid.closed"]
    assert attempts["left"] == []  # not of a node or a call that was killed, either
    assert attempts["marks"] == 1
    assert attempts["marks left"] == 0
    assert not attempts["connected"]


def test_a_run_that_no_node_is_left_for_says_what_it_waits_for() -> None:
    node = {"Alive": True, "NodeID": "blind", "Resources": {"CPU": 2.0}}
    tasks = on_ray._Tasks(Mock(nodes=lambda: [node]), [], on_ray.RayTasks())
    attempt = Attempt(Path("run"), (), device="cpu")
    tasks._ray.cluster_resources.return_value = {"CPU": 2.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks.submit(attempt)
    tasks._avoided.add("blind")
    with pytest.warns(UserWarning, match="none that sees the folder of the runs is left"):
        tasks.submit(attempt)


def compare(folder: Path, agents: list[str], frames: int, seeds: int) -> None:
    """Make the runs that a command has made, undisturbed and here, and compare."""
    comparison = of_envs([DEADLY], agents, budget="smoke", frames=frames)
    runs = list(comparison.seeded(range(seeds), folder=folder / "undisturbed"))
    for run in runs:
        train(run)
        theirs = folder / "disturbed" / run.out.name
        one, other = (dreamzoo.load(out).policy.state_dict() for out in (run.out, theirs))
        assert one.keys() == other.keys()
        assert all(th.equal(one[name], other[name]) for name in one), run.out.name
    collect_all(runs, folder / "undisturbed" / "results.csv")
    names = ("undisturbed", "disturbed")
    found = (read_rows(folder / name / "results.csv") for name in names)
    undisturbed, disturbed = ([row._replace(commit="") for row in rows] for rows in found)
    assert undisturbed == disturbed
    assert len(undisturbed) == 2 * len(runs)


def command(folder: Path, agents: list[str], frames: int, seeds: int) -> list[str]:
    asked = ["--agents", *agents, "--budget", "smoke", "--frames", str(frames)]
    out = ["--seeds", str(seeds), "--out", str(folder / "disturbed")]
    return ["command", "benchmark", "run", "--tasks", DEADLY, *asked, *out]


@pytest.mark.slow
def test_runs_that_are_killed_end_as_if_nothing_had_been(tmp_path: Path) -> None:
    settings: Any = dict(agents=["dreamer_v2"], frames=60, seeds=2)
    victims = {"dreamer_v2-0": "itself", "dreamer_v2-1": "watcher"}
    out = on_two_nodes(tmp_path, *command(tmp_path, **settings), victims=victims)
    assert "dreamer_v2-0: killed by signal 9; it is tried again" in out
    assert "its worker process is gone (WorkerCrashedError); it is tried again" in out
    assert out.count("it is tried again") == 2
    assert out.count(": goes on") == 2
    assert out.count(": finished") == 2
    compare(tmp_path, **settings)


@pytest.mark.slow
def test_six_runs_with_three_deaths_end_as_if_nothing_had_been(tmp_path: Path) -> None:
    settings: Any = dict(agents=["dreamer_v2", "dreamer_v3"], frames=200, seeds=3)
    victims = {"dreamer_v2-0": "watcher", "dreamer_v3-1": "itself", "dreamer_v3-2": "watcher"}
    out = on_two_nodes(tmp_path, *command(tmp_path, **settings), victims=victims)
    assert out.count("it is tried again") == 3
    assert out.count(": goes on") == 3
    assert out.count(": finished") == 6
    compare(tmp_path, **settings)
