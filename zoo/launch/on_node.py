"""
What runs in Ray's worker processes.

They import this module and nothing else of dreamzoo, which takes seconds.
"""

import socket
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from dreamzoo.launch.attempt import ELSEWHERE, Attempt, Outcome
from dreamzoo.launch.watch import watch

#: Seconds after which a file that is new on one machine is seen on all that share its folder.
PATIENCE = 5.0


class Report(NamedTuple):
    """
    What a node has to say before runs are sent to it.

    :param host: its name
    :param unseen: those of the shared folders that it does not see
    :param unlocked: those in which it does not notice another machine's locks
    :param versions: of what trains there
    """

    host: str
    unseen: list[str]
    unlocked: list[str]
    versions: dict[str, str]


def look_around(marks: Sequence[Path], patience: float = PATIENCE) -> Report:
    """
    Look from a node at what it shares with the others.

    :param marks: files that the caller has locked, one in every folder of runs
    :param patience: seconds in which they must come to sight
    """
    unseen = _unseen(marks, patience)
    unlocked = [str(m.parent) for m in marks if str(m.parent) not in unseen and not _is_locked(m)]
    versions = {name: version(name) for name in ("dreamzoo", "torch")}
    return Report(socket.gethostname(), unseen, unlocked, versions)


def _unseen(marks: Sequence[Path], patience: float) -> list[str]:
    end = time.monotonic() + patience
    while True:
        unseen = [str(mark.parent) for mark in marks if not mark.exists()]
        if not unseen or time.monotonic() > end:
            return unseen
        time.sleep(0.2)


def _is_locked(mark: Path) -> bool:
    try:
        FileLock(mark, blocking=False).acquire().lock.release()
    except Timeout:
        return True
    return False


def train(attempt: Attempt, marks: Sequence[Path], cwd: Path) -> tuple[str, Outcome]:
    """
    Make an attempt on whatever node Ray has chosen.

    :param attempt: with absolute paths
    :param marks: see :func:`look_around`
    :param cwd: where the process is started, if that is there
    :return: the node's id, and how the attempt has ended
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    if unseen := _unseen(marks, PATIENCE):
        reason = f"{socket.gethostname()} does not see {unseen[0]}"
        return node, Outcome(ELSEWHERE, reason)
    return node, Outcome(watch(attempt, cwd=cwd))
