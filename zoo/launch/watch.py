"""
One process, from its start to its end, and not longer than whoever watches it.

Processes that watch import this module and nothing else of dreamzoo, which takes seconds.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread

from dreamzoo.launch.attempt import Attempt

#: Seconds between two looks at a process, and those in which it may end by itself.
LOOK, GRACE = 0.2, 5.0
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none


def watch(
    attempt: Attempt,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """
    Make an attempt, and wait until it has ended.

    The process leads a group of its own, which an exception here, as of an interruption, ends.
    Where this process is killed, the other one sees its input end; see :func:`end_with_watcher`.

    Example:
        >>> from pathlib import Path
        >>> from dreamzoo.launch import Attempt
        >>> from dreamzoo.launch.watch import watch
        >>> watch(Attempt(Path("run"), ("-c", "print('trained')")))
        0
        >>> Path("run.log").read_text().split()
        ['trained']

    :param attempt: what to start
    :param env: variables of the process beside those of this one
    :param cwd: where it is started; None, and what is not there: where this one is
    :param is_over: asked five times a second; True ends the process
    :return: the code with which it ended; below 0: the signal that ended it
    """
    threads = {"OMP_NUM_THREADS": str(attempt.threads)}
    with (
        open(f"{attempt.out}.log", "a", encoding="utf-8") as log,
        subprocess.Popen(
            [sys.executable, *attempt.words],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **threads, **(env or {})},
            cwd=cwd if cwd is not None and cwd.is_dir() else None,
            start_new_session=True,
        ) as process,
    ):
        try:
            while not is_over():
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(LOOK)
        finally:
            _end(process)
        return process.returncode


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started, if it has not ended well."""
    if process.poll() == 0:
        return
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _signal(process, _KILL)
    process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Signal the group of a process; there may be none of it any more."""
    if not hasattr(os, "killpg"):  # Windows
        process.terminate()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end_with_watcher() -> None:
    """
    Let this process, and all of its group, end when the one that called :func:`watch` has ended.

    However that one ends, its end of the pipe is closed then, and here reading returns. A
    termination ends this process as an interruption does, so that it closes its environments.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):  # below Python's own stdin, which is torn down while this waits
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), _KILL)
    os._exit(1)
