"""Many training runs, each in a process of its own, that can be interrupted and resumed."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from dreamzoo.benchmark.results.evaluations import Collected, collect, read_progress
from dreamzoo.benchmark.run_config import CONFIG, Run, changes, command_line, is_saved


def is_begun(run: Run) -> bool:
    """Tell whether a run lies in its folder: not one with other settings."""
    return (run.out / CONFIG).exists() and not changes(run)


def is_finished(run: Run) -> bool:
    """Tell whether a run's folder holds all of its evaluations."""
    if not is_saved(run.out) or not is_begun(run):
        return False
    # It may have been for fewer steps, and may be evaluated at others than it was.
    return read_progress(run.out)._replace(steps=run.steps, spacing=run.eval_every).is_finished


def train_all(
    runs: Sequence[Run],
    jobs: int,
    *,
    anew: Collection[Path] = (),
    after_each: Callable[[], object] = lambda: None,
) -> list[Run]:
    """
    Train what is not finished; resume what was begun.

    Each run is ``dreamzoo train`` in a process of its own, which writes what it prints to a file
    beside its folder. A run that another call of this function is at is left to it.

    :param runs: what to train
    :param jobs: how many at once
    :param anew: folders of runs that are not resumed, but begun again
    :param after_each: called when one has ended, of several at once
    :return: those that failed
    """
    call = partial(_train, count=len(runs), anew=anew, after_each=after_each)
    with ThreadPoolExecutor(jobs) as pool:  # interrupted, its map begins no other
        ended = list(pool.map(call, runs, range(1, len(runs) + 1)))
    return [run for run, fine in zip(runs, ended, strict=True) if not fine]


def _train(
    run: Run,
    number: int,
    *,
    count: int,
    anew: Collection[Path],
    after_each: Callable[[], object],
) -> bool:
    """Train one of the runs; return whether that went well."""
    say = partial(print, f"[{number}/{count}] {run.out.name}:", flush=True)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{run.out}.lock", blocking=False):
            if run.out not in anew and is_finished(run):
                say("finished")
                return True
            goes_on = run.out not in anew and is_saved(run.out)
            say("goes on" if goes_on else "begins")
            fine = _call(run, "--resume" if goes_on else "--overwrite") == 0
    except Timeout:
        say("another process is at it")
        return True
    say("finished" if fine else f"failed, see {run.out}.log")
    after_each()
    return fine


def _call(run: Run, how: str) -> int:
    """Call ``dreamzoo train``, which has the cores that it is given and no more."""
    command = [sys.executable, "-m", "dreamzoo", "train", *command_line(run), how]
    threads = {"OMP_NUM_THREADS": str(run.threads)}
    with open(f"{run.out}.log", "a", encoding="utf-8") as log:
        return subprocess.run(
            command, stdout=log, stderr=log, check=False, env=os.environ | threads
        ).returncode


def collect_all(runs: Sequence[Run], to: Path) -> Collected:
    """
    Put what runs have scored by now into their file; several may do so at once.

    :param runs: of which those that are not begun are left out
    :param to: file, see :func:`~dreamzoo.benchmark.results.evaluations.collect`
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{to}.lock"):
        return collect([run.out for run in runs if is_begun(run)], to)
