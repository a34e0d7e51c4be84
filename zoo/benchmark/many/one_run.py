"""
Be the process of one run: wait for the run's lock, then be ``dreamzoo train``.

    python -m dreamzoo.benchmark.many.one_run TOKEN SECONDS --agent ... --env ... --out ...

The lock is this process's own, and so held for exactly as long as something trains there, whatever
becomes of those that started it.
"""

import os
import socket
import sys

from filelock import FileLock, Timeout

from dreamzoo.benchmark.many.folders import Place, is_finished, write_place
from dreamzoo.benchmark.run_config import is_saved
from dreamzoo.cli.arguments import plain_errors
from dreamzoo.cli.train import main as train
from dreamzoo.cli.train import parse_args
from dreamzoo.launch import BUSY
from dreamzoo.launch.watch import end_with_watcher


def main(argv: list[str]) -> None:
    """
    Make a run, or what is left of it.

    :param argv: what names this attempt in the file beside the run's folder; seconds to wait for
        a process that is at the run; words of ``dreamzoo train``
    """
    end_with_watcher()
    token, seconds, *words = argv
    run = parse_args(words)
    lock = FileLock(f"{run.out}.lock", timeout=float(seconds))
    try:
        lock.acquire()  # the end of the process releases it
    except Timeout:
        sys.exit(BUSY)
    with plain_errors():
        if is_finished(run):  # by the process that held the lock
            return
        goes_on = is_saved(run.out)
    gpus = "" if run.device == "cpu" else os.environ.get("CUDA_VISIBLE_DEVICES", "")
    write_place(run.out, Place(token, socket.gethostname(), os.getpid(), gpus, goes_on))
    train([*words, "--resume" if goes_on else "--overwrite"])


if __name__ == "__main__":
    main(sys.argv[1:])
