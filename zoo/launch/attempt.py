"""One process that trains, what became of it, and what starts such processes."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

#: Code with which a process ends that finds another one at its run: the system's "try again".
BUSY = 75
#: Code of an attempt that was not made, because the machine was not fit for it; others may be.
ELSEWHERE = 76


class NotReady(ValueError):
    """Says why a backend cannot make attempts, and what to do."""


class Attempt(NamedTuple):
    """
    One process that makes a run, or what is left of it.

    :param out: the run's folder; what the process prints is added to a file beside it
    :param words: of its command line, behind the interpreter
    :param threads: cores that it gets
    :param device: of the agent: ``cpu``, ``cuda``, ``cuda:1``, ``auto``
    """

    out: Path
    words: tuple[str, ...]
    threads: int = 1
    device: str = "auto"


class Outcome(NamedTuple):
    """
    How a process has ended.

    :param code: with which it has: 0 is well; below 0 and above 128 a signal has ended it; with
        :data:`BUSY` another process is at the run, and with :data:`ELSEWHERE` there was none
    :param reason: why there was none, or no more; empty: what it printed says so
    """

    code: int
    reason: str = ""

    @property
    def was_killed(self) -> bool:
        """
        Whether something else has ended it, and not an error of its own.

        Example:
            >>> from dreamzoo.launch import Outcome
            >>> [Outcome(code).was_killed for code in (0, 1, -9, 143)]
            [False, False, True, True]
        """
        return self.code < 0 or self.code > 128


#: Begins an attempt as soon as there is room; what it returns never holds an exception.
Submit = Callable[[Attempt], "Future[Outcome]"]


class Backend(Protocol):
    """Where attempts are made."""

    def open(self, folders: Collection[Path], jobs: int | None) -> AbstractContextManager[Submit]:
        """
        Make ready for attempts; where the block ends, those that still run are ended.

        :param folders: in which the folders of runs will lie; they exist
        :param jobs: how many at once; None: as many as there is room for
        :raises NotReady: if no attempt could succeed, and why
        """
