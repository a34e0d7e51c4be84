"""Many training runs, each in a process of its own, that can be interrupted and resumed."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dreamzoo.benchmark.many.board import Board, make_board
from dreamzoo.benchmark.many.folders import is_begun, is_finished, parents, read_place
from dreamzoo.benchmark.many.job import Job
from dreamzoo.benchmark.results.evaluations import Collected, collect, read_run
from dreamzoo.benchmark.run_config import CONFIG, Run, changes, remove_earlier_run
from dreamzoo.launch import BUSY, ELSEWHERE, Backend, Outcome, Submit
from dreamzoo.launch.local import LocalProcesses

#: Seconds between two looks at how far runs are, and runs that are looked at in a second: they are
#: files, perhaps of a file server.
LOOK, PACE = 1.0, 100


def train_all(
    runs: Sequence[Run],
    jobs: int | None = None,
    *,
    anew: Collection[Path] = (),
    after_each: Callable[[], object] = lambda: None,
    backend: Backend | None = None,
    retries: int = 3,
) -> list[Run]:
    """
    Train what is not finished; resume what was begun.

    Each run is ``dreamzoo train`` in a process of its own, which writes what it prints to a file
    beside its folder. A run that another call of this function is at is left to it. One that is
    killed goes on from its last save, as does one that has come further before it failed; one that
    fails by its own error where it began stops no other. In a terminal a table shows what runs.

    :param runs: what to train
    :param jobs: how many at once; None: as many as the backend has room for, on this machine one
    :param anew: folders of runs that are not resumed, but begun again
    :param after_each: called when one has ended
    :param backend: where processes are started; None: on this machine
    :param retries: how often a run is tried again that was killed without coming to a save
    :return: those that failed
    """
    crowd = _Crowd(runs, anew, retries, after_each, make_board(len(runs)))
    folders = parents(runs)
    with (backend or LocalProcesses()).open(folders, jobs) as submit, crowd.board:
        crowd.train(submit, jobs or (1 if backend is None else len(runs)))
    return crowd.failed


class _Crowd:
    """Runs that are waiting, being made, or ended."""

    def __init__(
        self,
        runs: Sequence[Run],
        anew: Collection[Path],
        retries: int,
        after_each: Callable[[], object],
        board: Board,
    ) -> None:
        self.waiting = deque(Job(run, number) for number, run in enumerate(runs, 1))
        self.running: dict[Future[Outcome], Job] = {}
        self.failed: list[Run] = []
        self.anew, self.retries = set(anew), retries
        self.after_each, self.board = after_each, board

    def train(self, submit: Submit, limit: int) -> None:
        """Give runs to processes, and look after these, until none is left."""
        while self.waiting or self.running:
            while self.waiting and len(self.running) < limit:
                job = self.waiting.popleft()
                if self._is_to_be_made(job):
                    self.running[submit(job.attempt())] = job
            pause = max(LOOK, len(self.running) / PACE)
            ended, _ = wait(self.running, pause, FIRST_COMPLETED)
            self.board.show(list(self.running.values()), len(self.waiting))
            for future in ended:
                self._end(self.running.pop(future), future.result())

    def _is_to_be_made(self, job: Job) -> bool:
        """Make the folder of a run ready; say so where there is nothing to do."""
        out = job.run.out
        if out in self.anew:
            try:
                with FileLock(f"{out}.lock", blocking=False):
                    if _differs(job.run):  # still: another call may have begun it anew
                        remove_earlier_run(out)
            except Timeout:
                self.board.say(job, _busy(out))
                return False
            self.anew.remove(out)
        with suppress(ValueError):  # a damaged folder the process explains in its log
            if is_finished(job.run):
                self.board.say(job, "finished")
                return False
        return True

    def _end(self, job: Job, outcome: Outcome) -> None:
        """Say how an attempt has ended, and whether another one follows."""
        if outcome.code == BUSY:
            self.board.say(job, _busy(job.run.out))
            return
        if outcome.code == ELSEWHERE:
            self.board.say(job, f"waits again: {outcome.reason}")
            self.waiting.appendleft(job)
            return
        if outcome.code == 0:
            self.board.say(job, "finished")
        else:
            if job.is_worth_another_try(outcome, self.retries):
                self.board.say(job, f"{_ending(outcome)}; it is tried again")
                self.waiting.appendleft(job)
                return
            self.board.say(job, f"{_ending(outcome)}, see {job.run.out}.log")
            self.failed.append(job.run)
        self.after_each()


def _differs(run: Run) -> bool:
    """Tell whether a run's folder holds one with other settings, or one that cannot be read."""
    try:
        return bool(changes(run))
    except ValueError:
        return True


def _ending(outcome: Outcome) -> str:
    """Say how an attempt has failed."""
    if outcome.reason or not outcome.was_killed:
        return f"failed: {outcome.reason}" if outcome.reason else "failed"
    code = outcome.code
    return f"killed by signal {-code if code < 0 else code - 128}"


def _busy(out: Path) -> str:
    """Say who is at a run."""
    place = read_place(out)
    where = f" on {place.host}, with id {place.pid}" if place is not None else ""
    return f"another process is at it{where}"


def collect_all(runs: Sequence[Run], to: Path, skipped: Sequence[Run] = ()) -> Collected:
    """
    Put what runs have scored by now into their file; several may do so at once.

    What the file says of these runs from earlier, when they had other settings, goes; what it says
    of runs whose folders are not here stays.

    :param runs: of which those that are not begun are left out
    :param to: file, see :func:`~dreamzoo.benchmark.results.evaluations.collect`
    :param skipped: runs that are left out, as other settings than theirs lie in their folders
    """
    begun, unreadable = [], {}
    for run in runs:
        try:
            if is_begun(run):
                read_run(run.out)
                begun.append(run.out)
        except (ValueError, OSError) as error:
            unreadable[run.out] = str(error)
    known = [r for r in (*runs, *skipped) if r.out not in unreadable and (r.out / CONFIG).exists()]
    keys = [(run.label or run.agent, run.env, run.seed) for run in known]
    return collect(begun, to, without=keys)._replace(unreadable=unreadable)
