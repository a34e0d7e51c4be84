"""How far a run is while another process makes it, and when it will be finished."""

import csv
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

#: The last lines of a log are looked for in so many bytes.
_TAIL = 65_536
#: What reading a file raises that is being written.
_HALF_WRITTEN = (OSError, ValueError, LookupError, EOFError, BadZipFile)


class Standing(NamedTuple):
    """
    How far a run is.

    :param steps: that it has made, as far as it has said
    :param evaluations: how many
    :param score: mean return of the last one; None: there is none
    """

    steps: int = 0
    evaluations: int = 0
    score: float | None = None


def read_standing(folder: Path, before: Standing) -> Standing:
    """
    Read how far a run is, from files that may be being written.

    :param folder: of the run, which need not exist
    :param before: what was read last; counts where a file cannot be read just now
    """
    try:
        logged = _logged(folder)
    except _HALF_WRITTEN:
        logged = before.steps
    evaluated, evaluations, score = 0, before.evaluations, before.score
    try:
        with np.load(folder / "evaluations.npz") as table:
            timesteps, results = table["timesteps"], table["results"]
        evaluated, evaluations, score = int(timesteps[-1]), len(timesteps), results[-1].mean()
    except _HALF_WRITTEN:
        pass
    return Standing(max(logged, evaluated), evaluations, None if score is None else float(score))


def _logged(folder: Path) -> int:
    """Read the steps in the last line of the newest log."""
    path = max(folder.glob("progress*.csv"), key=lambda path: path.stat().st_mtime)
    with path.open("rb") as file:
        header = file.readline().decode()
        begin = file.tell()
        file.seek(0, 2)
        file.seek(max(begin, file.tell() - _TAIL))
        whole = file.read().rpartition(b"\n")[0].decode()
    names, last = csv.reader([header, whole.rpartition("\n")[2]])
    return int(last[names.index("time/total_timesteps")])


class Pace:
    """
    How fast a run is, by when it said what.

    Example:
        >>> from dreamzoo.benchmark.many.standing import Pace
        >>> pace = Pace()
        >>> for second, steps in ((0, 5_000), (7, 5_000), (10, 5_200), (20, 5_400)):
        ...     pace.note(steps, second)
        >>> pace.seconds_left(6_000, now=21)  # 20 steps a second, and one of them is over
        29.0
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None

    def note(self, steps: int, now: float) -> None:
        """
        Note how far the run is.

        :param steps: that it has made
        :param now: seconds, on any clock
        """
        if self._last is None or steps < self._last[0]:  # or what it had done is lost
            self._first, self._last = None, (steps, now)
        elif steps > self._last[0]:
            self._first, self._last = self._first or (steps, now), (steps, now)

    def seconds_left(self, total: int, now: float) -> float | None:
        """
        Say how long the run will still take.

        :param total: steps of the run
        :param now: on the same clock
        :return: None: too little is known
        """
        if self._first is None or self._last is None or self._last == self._first:
            return None
        steps, seconds = (last - first for last, first in zip(self._last, self._first, strict=True))
        return max((total - self._last[0]) / (steps / seconds) - (now - self._last[1]), 0.0)
