"""What a terminal, or a file, shows of many runs."""

import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dreamzoo.benchmark.many.job import Job

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLUMNS = ("run", "on", "for", "steps", "of", "return", "left")


class Board:
    """
    Say in lines what becomes of runs.

    :param count: of all runs
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, job: Job, what: str) -> None:
        """
        Say what has become of a run.

        :param job: the run
        :param what: in words
        """
        self._print(f"[{job.number}/{self.count}] {job.run.out.name}: {what}")

    def show(self, running: Sequence[Job], waiting: int) -> None:
        """
        Show how far runs are, if they are further than at the last look.

        :param running: those that have been given to a process, or wait for one
        :param waiting: number of those that have not
        """
        for job in running:
            is_new = job.place is None
            if job.look() and job.place is not None:
                self.say(job, _begins(job) if is_new else _is_at(job))

    def _print(self, line: str) -> None:
        print(line, flush=True)


class LiveBoard(Board):
    """
    Show a table of the runs that are being made, which changes in its place, below the lines.

    :param count: of all runs
    :param console: of rich; None: the terminal
    """

    def __init__(self, count: int, console: "Console | None" = None) -> None:
        from rich.live import Live

        super().__init__(count)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> "LiveBoard":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.update("", refresh=True)  # nothing runs any more
        self._live.__exit__(*error)

    def show(self, running: Sequence[Job], waiting: int) -> None:
        """
        Show how far runs are.

        :param running: those that have been given to a process, or wait for one
        :param waiting: number of those that have not
        """
        for job in running:
            job.look()
        begun = [job for job in running if job.place is not None]
        title = f"{len(begun)} running, {len(running) - len(begun) + waiting} waiting, "
        self._live.update(_table(title + f"{self.count} in all", begun), refresh=True)

    def _print(self, line: str) -> None:
        self._live.console.print(line, markup=False, highlight=False)


def make_board(count: int) -> Board:
    """
    Make what shows runs: a table in a terminal, else, or without rich, lines.

    :param count: of all runs
    """
    if sys.stdout.isatty():
        with suppress(ImportError):
            return LiveBoard(count)
    return Board(count)


def row(job: Job, now: float) -> tuple[str, ...]:
    """
    Say what is known of a run that is being made, as :data:`COLUMNS` name it.

    :param job: the run
    :param now: seconds, on the clock of ``time.monotonic``
    """
    standing = job.standing
    score = "" if standing.score is None else f"{standing.score:.4g}"
    passed = str(timedelta(seconds=int(now - job.since)))
    steps = (f"{standing.steps:,}", f"{job.run.steps:,}")
    return (job.run.out.name, _where(job), passed, *steps, score, _left(job, now))


def _table(title: str, jobs: Sequence[Job]) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("run", "on") else "right")
    for job in jobs:
        table.add_row(*row(job, time.monotonic()))
    return table


def _where(job: Job) -> str:
    if job.place is None:
        return ""
    return job.place.host + (f", GPU {job.place.gpus}" if job.place.gpus else "")


def _left(job: Job, now: float) -> str:
    seconds = job.pace.seconds_left(job.run.steps, now)
    return "" if seconds is None else str(timedelta(seconds=int(seconds)))


def _begins(job: Job) -> str:
    assert job.place is not None
    where = "" if job.place.host == socket.gethostname() else f" ({_where(job)})"
    return ("goes on" if job.place.goes_on else "begins") + where


def _is_at(job: Job) -> str:
    _, _, _, steps, total, score, left = row(job, time.monotonic())
    return f"{steps} of {total} steps, return {score}" + (f", {left} left" if left else "")
