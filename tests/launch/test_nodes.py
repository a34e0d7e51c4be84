"""What a cluster is asked, and told, before anything runs there."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from dreamzoo.cli import main
from dreamzoo.launch import Attempt, NotReady
from dreamzoo.launch.on_node import Report, look_around
from dreamzoo.launch.on_ray import RayTasks, _check_node


def test_a_node_says_what_it_sees_and_whether_locks_reach_it(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    mark, nowhere = tmp_path / "shared" / ".mark", tmp_path / "elsewhere" / ".mark"
    with FileLock(mark):
        report = look_around([mark, nowhere], patience=0.0)
        assert (report.unseen, report.unlocked) == ([str(nowhere.parent)], [])
    assert look_around([mark], patience=0.0).unlocked == [str(mark.parent)]


HERE = Report("head", [], [], {"torch": "2.9"})


def test_a_node_that_is_not_fit_is_named_before_anything_begins() -> None:
    _check_node("node7 (10.0.0.7)", replaced(host="node7"), HERE)
    with pytest.raises(NotReady, match=r"node7 \(10.0.0.7\) does not see /runs: nothing was begun"):
        _check_node("node7 (10.0.0.7)", replaced(unseen=["/runs"]), HERE)
    with pytest.raises(NotReady, match=r"node7 has torch 2.8, and this machine has torch 2.9"):
        _check_node("node7", replaced(versions={"torch": "2.8"}), HERE)
    with pytest.warns(UserWarning, match="does not notice locks of head in /runs"):
        _check_node("node7", replaced(host="node7", unlocked=["/runs"]), HERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _check_node("head again", replaced(unlocked=["/runs"]), HERE)


def replaced(**changes: Any) -> Report:
    return HERE._replace(**changes)


def test_a_run_asks_for_its_threads_and_for_a_gpu_where_it_can_use_one() -> None:
    attempt = Attempt(Path("run"), (), threads=4, device="auto")
    cpus, gpus = {"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0}
    cuda = attempt._replace(device="cuda")
    assert RayTasks().resources(attempt, cpus) == {"num_cpus": 4}
    assert RayTasks().resources(attempt, gpus) == {"num_cpus": 4, "num_gpus": 1}
    assert RayTasks().resources(attempt._replace(device="cpu"), gpus) == {"num_cpus": 4}
    assert RayTasks().resources(cuda, cpus) == {"num_cpus": 4, "num_gpus": 1}
    shared = {"num_cpus": 4, "num_gpus": 0.25, "memory": 2**30}
    assert RayTasks(gpus=0.25, memory=2**30).resources(cuda, gpus) == shared
    with pytest.raises(NotReady, match="Ray chooses the GPU"):
        RayTasks().resources(attempt._replace(device="cuda:1"), gpus)


@pytest.mark.parametrize("gpus", [0, -1, 1.5])
def test_gpus_that_ray_cannot_give_are_refused(gpus: float) -> None:
    with pytest.raises(SystemExit, match="must be a part of one, or a whole number"):
        main(["benchmark", "run", "discrete", "--backend", "ray", "--gpus", str(gpus)])
    assert RayTasks(gpus=2).gpus == 2
    with pytest.raises(ValueError, match="memory=0 must be above 0"):
        RayTasks(memory=0)


def test_options_of_a_cluster_need_one() -> None:
    with pytest.raises(SystemExit, match="--address and --memory are for a cluster: say --backend"):
        main(["benchmark", "run", "discrete", "--address", "auto", "--memory", "4"])


def test_a_cluster_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
    asked = ["--tasks", "CartPole-v1", "--agents", "dqn", "--budget", "smoke"]
    where = ["--backend", "ray", "--address", "127.0.0.1:1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"There is no Ray cluster at '127\.0\.0\.1:1'"):
        main(["benchmark", "run", *asked, *where])
