"""Processes that are started, watched and ended; none of them trains, which takes seconds."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dreamzoo.launch import Attempt, Outcome
from dreamzoo.launch.local import LocalProcesses, visible_gpus
from dreamzoo.launch.watch import watch

psutil = pytest.importorskip("psutil")

#: Starts a process of its own, says who both are, and does not end.
FAMILY = """
import os, subprocess, sys, time
from dreamzoo.launch.watch import end_with_watcher
end_with_watcher()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids.new", "w").write(f"{os.getpid()} {child.pid}")
os.replace("pids.new", "pids")
try:
    time.sleep(600)
finally:
    open("closed", "w").close()
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def python(text: str) -> Attempt:
    return Attempt(Path("run"), ("-c", text))


def comes(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for what should come."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def family() -> list[int]:
    assert comes(Path("pids").exists)
    return [int(word) for word in Path("pids").read_text().split()]


def test_what_a_process_prints_is_added_to_the_file_beside_its_folder() -> None:
    assert watch(python("print('one')")) == 0
    assert watch(python("raise SystemExit('two')")) == 1
    assert Path("run.log").read_text() == "one\ntwo\n"


def test_a_process_has_its_threads_and_its_variables() -> None:
    attempt = python("import os; print(os.environ['OMP_NUM_THREADS'], os.environ['GIVEN'])")
    assert watch(attempt._replace(threads=3), {"GIVEN": "x"}) == 0
    assert Path("run.log").read_text() == "3 x\n"


def test_a_process_that_listens_for_its_watcher_can_end_well() -> None:
    text = "from dreamzoo.launch.watch import end_with_watcher; end_with_watcher()"
    assert watch(python(text)) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_told_from_one_that_fails(number: int) -> None:
    text = "import os; from dreamzoo.launch.watch import *; end_with_watcher(); "
    code = watch(python(f"{text}os.kill(os.getpid(), {number})"))
    assert Outcome(code).was_killed
    assert not Outcome(watch(python("1 / 0"))).was_killed


def test_what_a_killed_process_has_started_is_ended() -> None:
    def kill() -> bool:
        if Path("pids").exists():
            os.kill(family()[0], signal.SIGKILL)
        return False

    assert watch(python(FAMILY), is_over=kill) == -signal.SIGKILL
    assert comes(lambda: not any(map(lives, family())))


def test_an_end_is_an_interruption_of_the_process_and_all_it_has_started() -> None:
    watch(python(FAMILY), is_over=lambda: Path("pids").exists())
    assert not lives(family()[0])
    assert comes(lambda: not lives(family()[1]))
    assert Path("closed").exists()


def test_nothing_outlives_a_watcher_that_is_killed() -> None:
    text = (
        "from pathlib import Path; from dreamzoo.launch import Attempt\n"
        "from dreamzoo.launch.watch import watch\n"
        f"watch(Attempt(Path('run'), ('-c', {FAMILY!r})))"
    )
    with subprocess.Popen([sys.executable, "-c", text]) as watcher:
        pids = family()
        assert all(map(lives, pids))
        watcher.kill()
    assert comes(lambda: not any(map(lives, pids)))


def test_an_interruption_ends_what_runs_and_what_waits() -> None:
    with suppress(KeyboardInterrupt), LocalProcesses().open([], jobs=1) as submit:
        futures = [submit(python(FAMILY)), submit(python("open('second', 'w')"))]
        family()
        raise KeyboardInterrupt
    assert futures[0].done()
    assert futures[1].cancelled()  # codespell:ignore cancelled
    assert not any(map(lives, family()[:1]))
    assert not Path("second").exists()


SAYS_ITS_GPU = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
out.write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "as it was"))
while len(list(out.parent.glob("gpu-*"))) < 4:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("device", "seen"),
    [
        ("cuda", {"GPU-a": 2, "GPU-b": 2}),
        ("auto", {"GPU-a": 2, "GPU-b": 2}),
        ("cuda:1", {"GPU-a,GPU-b": 4}),
        ("cpu", {"GPU-a,GPU-b": 4}),
    ],
)
def test_what_runs_at_once_is_spread_over_the_gpus(
    device: str, seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with LocalProcesses().open([], jobs=4) as submit:
        files = [Path(f"gpu-{i}") for i in range(4)]
        words = [("-S", "-c", SAYS_ITS_GPU, str(file)) for file in files]
        ended = [submit(Attempt(Path("run"), each, device=device)) for each in words]
        assert [future.result().code for future in ended] == [0, 0, 0, 0]
    assert Counter(file.read_text() for file in files) == seen


def test_gpus_are_those_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus() == ["5", "7"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert visible_gpus() == []


def test_what_cannot_be_started_is_a_reason() -> None:
    with LocalProcesses().open([], jobs=1) as submit:
        outcome = submit(python("")._replace(out=Path("nowhere/run"))).result()
    assert outcome.code == 1
    assert "nowhere" in outcome.reason
