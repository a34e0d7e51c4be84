"""Many training runs, each in a process of its own, that can be interrupted and resumed."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from filelock import FileLock, Timeout

from dreamzoo.benchmark.results import read_run
from dreamzoo.benchmark.run_config import CONFIG, Run, command_line, continued, is_saved


def is_finished(run: Run) -> bool:
    """
    Tell whether a run's folder holds all of its evaluations.

    :raises ValueError: if another run lies there
    """
    if not (run.out / CONFIG).exists() or not is_saved(run.out):
        return False
    continued(vars(run))
    try:
        rows = read_run(run.out)
    except ValueError:
        return False
    return run.steps - rows[-1].steps < max(run.eval_every, 1)


def train_all(runs: Sequence[Run], jobs: int) -> list[Run]:
    """
    Train what is not finished; resume what was begun.

    Each run is ``dreamzoo train`` in a process of its own, which writes what it prints to a file
    beside its folder. A run that another call of this function is at is left to it.

    :param runs: what to train
    :param jobs: how many at once
    :return: those that failed
    """
    with ThreadPoolExecutor(jobs) as pool:
        ended = list(pool.map(partial(_train, count=len(runs)), runs, range(1, len(runs) + 1)))
    return [run for run, fine in zip(runs, ended, strict=True) if not fine]


def _train(run: Run, number: int, *, count: int) -> bool:
    """Train one of the runs; return whether that went well."""
    say = partial(print, f"[{number}/{count}] {run.out.name}:", flush=True)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{run.out}.lock", blocking=False):
            if is_finished(run):
                say("finished")
                return True
            begun = is_saved(run.out)
            say("goes on" if begun else "begins")
            fine = _call(run, "--resume" if begun else "--overwrite") == 0
    except Timeout:
        say("another process is at it")
        return True
    say("finished" if fine else f"failed, see {run.out}.log")
    return fine


def _call(run: Run, how: str) -> int:
    """Call ``dreamzoo train``, which has the cores that it is given and no more."""
    command = [sys.executable, "-m", "dreamzoo", "train", *command_line(run), how]
    threads = {"OMP_NUM_THREADS": str(run.threads)}
    with open(f"{run.out}.log", "a", encoding="utf-8") as log:
        return subprocess.run(
            command, stdout=log, stderr=log, check=False, env=os.environ | threads
        ).returncode
