"""Attempts on this machine."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

import torch as th

from dreamzoo.launch.attempt import Attempt, Outcome, Submit
from dreamzoo.launch.watch import watch


class LocalProcesses:
    """
    Make attempts in processes of this machine.

    Those of devices ``cuda`` and ``auto`` are spread over its GPUs, so that ``--jobs 4`` puts two
    on each of two; ``cuda:1`` is taken at its word.

    Example:
        >>> from pathlib import Path
        >>> from dreamzoo.launch import Attempt
        >>> from dreamzoo.launch.local import LocalProcesses
        >>> attempts = [Attempt(Path(x), ("-c", f"print('{x}')")) for x in ("a", "b", "c")]
        >>> with LocalProcesses().open([Path()], jobs=2) as submit:
        ...     print([future.result().code for future in [submit(x) for x in attempts]])
        [0, 0, 0]
    """

    @contextmanager
    def open(self, folders: Collection[Path], jobs: int | None) -> Iterator[Submit]:
        """
        Make ready for attempts; where the block ends, those that still run are ended.

        :param folders: of the runs, which this machine sees in any case
        :param jobs: how many at once; None: one
        """
        over, gpus = Event(), _Gpus(visible_gpus())
        with ThreadPoolExecutor(jobs or 1) as pool:

            def submit(attempt: Attempt) -> "Future[Outcome]":
                return pool.submit(_make, attempt, gpus, over.is_set)

            try:
                yield submit
            finally:
                over.set()
                pool.shutdown(wait=False, cancel_futures=True)


def _make(attempt: Attempt, gpus: "_Gpus", is_over: Callable[[], bool]) -> Outcome:
    """Make an attempt on the GPU that the fewest others are on."""
    with gpus.lent(attempt.device) as env:
        try:
            return Outcome(watch(attempt, env, is_over=is_over))
        except OSError as error:  # as when there are no more processes, or no space for a log
            return Outcome(1, str(error))


def visible_gpus() -> list[str]:
    """Name the GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` does."""
    count = th.cuda.device_count()  # asks the driver, and takes no memory of any GPU
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return (named if named != [""] else [str(i) for i in range(count)])[:count]


class _Gpus:
    """Who is on which GPU."""

    def __init__(self, names: list[str]) -> None:
        self._used = Counter(dict.fromkeys(names, 0))
        self._lock = Lock()

    @contextmanager
    def lent(self, device: str) -> Iterator[dict[str, str]]:
        """Give variables that show a process one GPU, if it is to have any of several."""
        if len(self._used) < 2 or device not in ("cuda", "auto"):
            yield {}
            return
        with self._lock:
            name = min(self._used, key=lambda name: self._used[name])
            self._used[name] += 1
        try:
            yield {"CUDA_VISIBLE_DEVICES": name}
        finally:
            with self._lock:
                self._used[name] -= 1
