"""A case that hangs or crashes costs one case; what was measured is passed on at once."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dreamzoo.benchmark import cases
from dreamzoo.benchmark.cases import Case, run_cases

#: What a case runs that holds, with nothing slow to import.
HOLD = "import json, sys\nprint(json.dumps({'ready': True}), flush=True)\nsys.stdin.readline()\n"


def case(name: str, code: str, seconds: float = 20, **kwargs: bool) -> Case:
    return Case(name, ["-c", code], seconds, **kwargs)


def run(*listed: Case, seconds: float = 60) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    run_cases(listed, seconds, lines.append)
    return lines


def test_a_crash_is_reported_and_the_next_case_runs() -> None:
    crash = "print('{\"ms\": 1}', flush=True); raise ValueError('no such kernel')"
    first, ended, other, well = run(case("bad", crash), case("good", "print('{\"ms\": 2}')"))
    assert first == {"case": "bad", "ms": 1}
    assert ended["status"] == "failed"
    assert "no such kernel" in ended["error"]
    assert other == {"case": "good", "ms": 2}
    assert (well["case"], well["status"]) == ("good", "ok")


def test_a_case_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(alive)!r}, 'a').write('x'); time.sleep(0.01)"
    hangs = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
    hangs += f"import os\nwhile not os.path.exists({str(alive)!r}): time.sleep(0.01)\n"
    hangs += "print('{\"ms\": 1}', flush=True)\ntime.sleep(60)"
    start = time.monotonic()
    lines = run(case("hangs", hangs, 3), case("next", "pass"))
    assert time.monotonic() - start < 30
    assert lines[0] == {"case": "hangs", "ms": 1}
    assert [line.get("status") for line in lines[1:]] == ["timeout", "ok"]
    size = alive.stat().st_size
    time.sleep(0.2)
    assert alive.stat().st_size == size


def test_no_case_begins_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "LEAST_SECONDS", 0.0)
    lines = run(case("long", "import time; time.sleep(60)"), case("late", "pass"), seconds=0.5)
    assert [line["status"] for line in lines] == ["timeout", "skipped"]


def test_other_output_is_no_result() -> None:
    (ended,) = run(case("chatty", "print('hello'); print(3); print('[1]')"))
    assert ended["status"] == "ok"


def test_a_case_that_holds_is_prepared_early_and_measures_in_its_turn(tmp_path: Path) -> None:
    ready, over = tmp_path / "ready", tmp_path / "over"
    # The first case ends only after the second has been prepared.
    first = f"import os, time\nwhile not os.path.exists({str(ready)!r}): time.sleep(0.01)\n"
    first += f"time.sleep(0.2); open({str(over)!r}, 'w')"
    second = f"open({str(ready)!r}, 'w')\n{HOLD}import os\n"
    second += f"print(json.dumps({{'alone': os.path.exists({str(over)!r})}}))"
    lines = run(case("first", first), case("second", second, holds=True))
    assert [line.get("status") for line in lines] == ["ok", None, "ok"]
    assert lines[1] == {"case": "second", "alone": True}


def test_what_is_prepared_in_the_background_has_its_turn_when_it_is_ready(tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{HOLD}"
    slow += "print(json.dumps({'ms': 3}))"
    first = (
        f"print('{{\"ms\": 1}}', flush=True)\nopen({str(go)!r}, 'w')\nimport time; time.sleep(2)"
    )
    lines = run(
        case("compiled", slow, background=True), case("first", first), case("last", "print('{}')")
    )
    assert [line["case"] for line in lines if "status" in line] == ["first", "compiled", "last"]
    assert lines[0] == {"case": "first", "ms": 1, "beside": ["compiled"]}
    assert lines[2] == {"case": "compiled", "ms": 3}
    assert "beside" not in lines[-1]


def test_what_never_gets_ready_is_waited_for_last_and_ended() -> None:
    slow = case("compiled", "import time; time.sleep(60)", background=True)
    lines = run(slow, case("other", "print('{}')"), seconds=3)
    assert [line["case"] for line in lines if "status" in line] == ["other", "compiled"]
    assert lines[-1]["status"] == "timeout"


def test_processes_run_the_same_python() -> None:
    line, _ = run(case("which", "import json, sys; print(json.dumps({'python': sys.executable}))"))
    assert line["python"] == sys.executable
