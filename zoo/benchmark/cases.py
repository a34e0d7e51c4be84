"""Measurements in processes of their own: what hangs or crashes costs one case, not the rest."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, NamedTuple

#: Receives every result as it comes.
Emit = Callable[[dict[str, Any]], None]
#: Less time than this is not worth starting a process for.
LEAST_SECONDS = 5.0


class Case(NamedTuple):
    """
    What one process measures.

    It prints a JSON object a line. One that holds prints ``{"ready": true}`` when it is prepared,
    and goes on after a line of input, see :func:`wait_for_turn`.

    :param name: of the case
    :param command: arguments of Python
    :param seconds: how long it may take in its turn
    :param holds: whether it waits for its turn; it is started while the case before it runs
    :param background: whether it is started first of all, because preparing takes it long, and has
        its turn when it is ready
    """

    name: str
    command: Sequence[str]
    seconds: float
    holds: bool = False
    background: bool = False


def wait_for_turn() -> None:
    """Report that this process is prepared, and wait for its turn (see :class:`Case`)."""
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()


class Process:
    """
    A case that runs, with a thread that reads what it prints.

    :param case: what to run
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.ready = Event()  # or over
        self.lines: Queue[dict[str, Any] | None] = Queue()  # None: it has ended
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (read when it has ended)
        self._process = subprocess.Popen(
            [sys.executable, *case.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # so that its own children can be ended with it
        )
        if case.background:
            _leave_the_lower_cores(self._process.pid)
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = parse_line(text)
            if line is not None and line.get("ready"):
                self.ready.set()
            elif line is not None:
                self.lines.put(line)
        self.ready.set()
        self.lines.put(None)

    def begin(self) -> None:
        """Let it begin: its turn has come."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended
            self._process.stdin.write("\n")
            self._process.stdin.close()

    def error(self) -> str | None:
        """Return what it said last, unless it ended well."""
        if self._process.wait() == 0:
            return None
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit status {self._process.returncode}: " + " | ".join(said[-3:])[-600:]

    def kill(self) -> None:
        """End it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def parse_line(text: str) -> dict[str, Any] | None:
    """Read a JSON object; None for whatever else a process prints."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _leave_the_lower_cores(pid: int) -> None:
    """Keep a process off half of the processor's cores, for those whose turn it is."""
    if not hasattr(os, "sched_setaffinity"):  # Linux has it
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= 8:
        os.sched_setaffinity(pid, cores[len(cores) // 2 :])


def run_cases(cases: Sequence[Case], seconds: float, emit: Emit) -> None:
    """
    Run one case after the other while there is time.

    Every line of a case is passed on at once with the case's name, and in ``beside`` the cases
    that were still being prepared in the background. A last line says how the case ended:
    ``status`` is ``ok``, ``failed``, ``timeout`` or ``skipped``.

    :param cases: those of most worth first
    :param seconds: for all of them
    :param emit: receives the lines
    """
    end = time.monotonic() + seconds
    started = {case.name: Process(case) for case in cases if case.background}
    waiting = list(cases)
    try:
        while waiting:
            case = _next_case(waiting, started)
            waiting.remove(case)
            left = end - time.monotonic()
            if left < LEAST_SECONDS and case.name not in started:
                emit({"case": case.name, "status": "skipped"})
                continue
            process = started.pop(case.name, None) or Process(case)
            following = next((c for c in waiting if not c.background), None)
            if following is not None and following.holds and following.name not in started:
                started[following.name] = Process(following)
            beside = [n for n, p in started.items() if p.case.background and not p.ready.is_set()]
            _finish(process, min(left, case.seconds), emit, {"beside": beside} if beside else {})
    finally:
        for process in started.values():
            process.kill()


def _next_case(waiting: list[Case], started: dict[str, Process]) -> Case:
    """Choose what is prepared in the background, else the first of the others."""
    ready = [c for c in waiting if c.background and started[c.name].ready.is_set()]
    others = [c for c in waiting if not c.background]
    return (ready or others or waiting)[0]


def _finish(process: Process, seconds: float, emit: Emit, remark: dict[str, Any]) -> None:
    """Give a process its turn."""
    name, start = process.case.name, time.monotonic()
    process.begin()
    result: dict[str, Any] = {"case": name, "status": "ok"}
    try:
        while True:
            left = max(start + seconds - time.monotonic(), 0.0)
            line = process.lines.get(timeout=left)
            if line is None:
                break
            emit({"case": name} | line | remark)
        error = process.error()
        if error is not None:
            result |= {"status": "failed", "error": error}
    except Empty:
        result["status"] = "timeout"
    finally:
        process.kill()
    emit(result | {"seconds": round(time.monotonic() - start, 1)} | remark)
