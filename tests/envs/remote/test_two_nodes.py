"""Training goes on when a worker of a real cluster of two nodes is killed, or a node is lost."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')

from tests.envs.remote import cluster_scenario


@pytest.mark.parametrize("what", ["worker", pytest.param("node", marks=pytest.mark.slow)])
def test_training_goes_on_with_a_truncated_episode(what: str) -> None:
    command = [sys.executable, "-m", cluster_scenario.__name__, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    steps, before = cluster_scenario.STEPS, cluster_scenario.BEFORE
    assert found["steps"] == 2 * steps
    assert found["updates"] > 5
    assert found["nodes_before"] == 2
    assert found["nodes_after"] == (1 if what == "node" else 2)
    ((when, rows),) = found["lost"]
    # What was made before it died still counts, two steps at most.
    assert before < when <= before + 3
    assert len(rows) == 1
    ends = found["ends"]
    assert ends[rows[0]] == [when]
    assert ends[1 - rows[0]] == []
    assert found["all_truncated"]
    # Until Ray knows that a node is gone it may start a worker there once more.
    assert len(found["warnings"]) == 1 or (what == "node" and found["warnings"])
    for warning in found["warnings"]:
        assert f"worker {rows[0]} (environment {rows[0]}; process" in warning
