"""Finished cells as rows of a file, and which cell is to be trained next."""

import csv
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from dreamzoo.benchmark.estimators.models import KINDS, TASKS
from dreamzoo.benchmark.estimators.training import ESTIMATORS, Cell, Effort, Outcome
from dreamzoo.common.storage.files import locked

#: Learning rates, neighbors a factor of about three apart. The paper's end at 3e-3 (section 4), for
#: more than ten times the updates.
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
#: Where the search begins.
FIRST_RATE = 1e-2


class Column(NamedTuple):
    """
    A column of table 1.

    :param task: "sbn", structured prediction by a sigmoid belief network, or "vae"
    :param kind: of layers, "bernoulli" or "categorical"
    """

    task: str
    kind: str


COLUMNS = [Column(*pair) for pair in itertools.product(TASKS, KINDS)]


class Row(NamedTuple):
    """
    A finished cell.

    The first fields are those of :class:`Cell` and :class:`Outcome`; ``effort`` are the numbers of
    :class:`Effort` in their order, with slashes between.
    """

    task: str
    kind: str
    estimator: str
    rate: float
    seed: int
    epochs: int
    best_epoch: int
    train: float
    valid: float
    test: float
    seconds: float
    effort: str
    commit: str

    @property
    def cell(self) -> Cell:
        """What was trained."""
        return Cell(self.task, self.kind, self.estimator, self.rate, self.seed)


def read_rows(path: Path) -> list[Row]:
    """
    Read what :class:`Results` wrote.

    :param path: of the file; if there is none, nothing is finished. What follows the last whole
        line is no row: a process was killed, or the disk was full
    :raises ValueError: for a file of something else
    """
    if not path.exists():
        return []
    kinds = Row.__annotations__
    lines = [*csv.reader(_whole_lines(path.read_text()).splitlines())]
    try:
        if lines and lines[0] != [*kinds]:
            raise ValueError
        values = (zip(kinds, line, strict=True) for line in lines[1:])
        return [Row(**{name: kinds[name](value) for name, value in row}) for row in values]
    except ValueError:
        raise ValueError(
            f"{path} does not hold finished cells, {', '.join(kinds)}. Give another file: --results"
        ) from None


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


class Results:
    """
    A file of finished cells that grows row by row.

    :param path: of the file, which the first cell makes
    :param effort: with which all of its cells are trained
    :param commit: of the code
    :raises ValueError: if its cells were trained with another effort
    """

    def __init__(self, path: Path, effort: Effort, commit: str) -> None:
        self.path, self.commit = path, commit
        self.effort, self._names = "/".join(map(str, astuple(effort))), ", ".join(vars(effort))
        self.rows()

    def rows(self) -> list[Row]:
        """
        Read what is finished.

        :raises ValueError: if some of it was trained with another effort
        """
        rows = read_rows(self.path)
        for row in rows:
            if row.effort != self.effort:
                raise ValueError(
                    f"{self.path} has cells that were trained with {row.effort}, not {self.effort} "
                    f"({self._names}). Give another file: --results"
                )
        return rows

    def append(self, cell: Cell, outcome: Outcome) -> None:
        """
        Add a finished cell, unless another process has added the same meanwhile.

        :param cell: that was trained
        :param outcome: what became of it
        :raises ValueError: if another process has added cells of another effort meanwhile
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rounded = [round(x, 3) if isinstance(x, float) else x for x in outcome]
        with locked(f"{self.path}.lock"):
            if any(row.cell == cell for row in self.rows()):
                return
            with self.path.open("a+", newline="") as file:
                file.seek(0)
                file.truncate(len(_whole_lines(file.read()).encode()))
                writer = csv.writer(file, lineterminator="\n")
                if not file.tell():
                    writer.writerow(Row._fields)
                writer.writerow([*cell, *rounded, self.effort, self.commit])


def best_rate(tried: dict[float, float]) -> float:
    """Choose the learning rate with the lowest bound on validation."""
    return min(tried, key=lambda rate: tried[rate])


def next_rate(tried: dict[float, float]) -> float | None:
    """
    Choose which learning rate to try next: a neighbor of the best, until both are worse.

    Example:
        >>> from dreamzoo.benchmark.estimators.results import next_rate
        >>> next_rate({}), next_rate({1e-2: 60.0}), next_rate({1e-2: 60.0, 3e-3: 59.0})
        (0.01, 0.003, 0.001)

    :param tried: bounds on validation by rate
    :return: None if the best rate is found
    """
    if not tried:
        return FIRST_RATE
    best = RATES.index(best_rate(tried))
    neighbors = RATES[max(best - 1, 0) : best + 2]
    return next((rate for rate in neighbors if rate not in tried), None)


def rates_tried(rows: list[Row], column: Column, estimator: str) -> dict[float, float]:
    """Collect the bounds on validation with seed 0, by those of :data:`RATES` that were tried."""
    return {
        row.rate: row.valid if math.isfinite(row.valid) else math.inf
        for row in rows
        if (row.task, row.kind, row.estimator, row.seed) == (*column, estimator, 0)
        and row.rate in RATES
    }


def chosen(rows: list[Row], column: Column, estimator: str) -> list[Row]:
    """Take the rows of all seeds at the learning rate that is best with seed 0."""
    tried = rates_tried(rows, column, estimator)
    if not tried:
        return []
    best = (*column, estimator, best_rate(tried))
    return sorted((row for row in rows if row[:4] == best), key=lambda row: row.seed)


def next_cell(rows: list[Row], column: Column, estimator: str, seeds: int) -> Cell | None:
    """
    Say what is to be trained next for one number of the table.

    First seed 0 at learning rates until the best is found, then the other seeds at that one.

    :param rows: what is finished
    :param column: of the table
    :param estimator: of :data:`ESTIMATORS`
    :param seeds: how many
    :return: None if nothing is left
    """
    tried = rates_tried(rows, column, estimator)
    rate = next_rate(tried)
    if rate is not None:
        return Cell(*column, estimator, rate, seed=0)
    done = {row.seed for row in chosen(rows, column, estimator)}
    missing = (seed for seed in range(seeds) if seed not in done)
    seed = next(missing, None)
    return None if seed is None else Cell(*column, estimator, best_rate(tried), seed)


def train_all(
    results: Results,
    train: Callable[[Cell], Outcome],
    seeds: int = 3,
    columns: Sequence[Column] = COLUMNS,
    estimators: Iterable[str] = ESTIMATORS,
) -> int:
    """
    Train whatever the table lacks.

    After every cell the file is written, and read again: a run that was cut off goes on where it
    was. Another process may train other columns at the same time; what both train is kept once.

    :param results: what is finished
    :param train: trains a cell
    :param seeds: of each number
    :param columns: of the table
    :param estimators: names
    :return: how many cells were trained
    """
    count = 0
    for column, estimator in itertools.product(columns, estimators):
        while cell := next_cell(results.rows(), column, estimator, seeds):
            results.append(cell, train(cell))
            count += 1
    return count
