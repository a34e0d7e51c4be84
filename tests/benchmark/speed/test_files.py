"""What is measured of files is what is said."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dreamzoo.benchmark.speed.files import compare, make_agent, measure_files


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_measured_replay_is_full_and_comes_back_as_it_was(tmp_path: Path) -> None:
    agent = make_agent(0.01)
    replay = agent.replay_buffer
    assert replay is not None
    assert replay.full
    assert replay.nbytes() == pytest.approx(1e7, rel=0.01)
    measured = measure_files(agent, tmp_path, cold=False)
    loaded = agent.replay_buffer
    assert loaded is not None
    assert loaded is not replay
    for name, part in replay.stored().items():
        np.testing.assert_array_equal(part, loaded.stored()[name])
    names = {"write", "save", "read", "load"}
    assert {*names, *(f"{name}_cpu" for name in names), "save_bytes", "load_bytes"} == {*measured}


def test_shares_are_those_of_a_turn() -> None:
    """A machine that is slow for a while is slow for both."""
    cpu = dict(write_cpu=1.0, save_cpu=2.0, read_cpu=3.0, load_cpu=4.0)
    slow = cpu | dict(write=10.0, save=11.0, read=5.0, load=6.0, save_bytes=1.0, load_bytes=20.0)
    fast = {name: value / 10 for name, value in slow.items()}
    found = compare([slow, fast, fast], nbytes=10)
    assert (found["save_per_write"], found["load_per_read"]) == (1.1, 1.2)
    assert found["seconds"] == {"write": 1.0, "save": 1.1, "read": 0.5, "load": 0.6}
    assert found["cpu_seconds"] == {"write": 0.1, "save": 0.2, "read": 0.3, "load": 0.4}
    assert (found["save_memory"], found["load_memory"]) == (0.01, 0.2)
