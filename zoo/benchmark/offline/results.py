"""Finished seeds as files of rows, and the tables that these files make."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from dreamzoo.benchmark.offline.rows import Earned, HeldOut
from dreamzoo.benchmark.results.table import markdown

Row = TypeVar("Row", Earned, HeldOut)
#: Who earns, by the names in the file, and the heads of the table.
COLUMNS = {
    "random": "random",
    "behavior": "in the data, mean",
    "best_episode": "in the data, best",
    "dreamer_v3": "DreamerV3, offline",
    "ppo_in_dream": "PPO, dream only",
    "promised": "PPO in the dream",
}
#: Steps ahead that the table of errors shows.
HORIZONS = (1, 5, 20, 45)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """
    Write rows of one kind to a file, sorted.

    :param path: of the csv
    :param rows: at least one
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0]._fields)
    writer.writerows(sorted(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue())


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """
    Read the rows of a file.

    :param path: of :func:`write_rows`
    :param kind: of the rows
    :raises ValueError: for a file of something else
    """
    types = kind.__annotations__
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or list(rows.fieldnames) != list(types):
            raise ValueError(f"{path} has not the columns {', '.join(types)}.")
        return [kind(**{k: types[k](v) for k, v in row.items()}) for row in rows]


def returns_table(rows: Sequence[Earned]) -> str:
    """
    Write what was earned as a table in Markdown, a line for every seed.

    Example:
        >>> from dreamzoo.benchmark.offline.results import returns_table
        >>> from dreamzoo.benchmark.offline.rows import Earned
        >>> row = Earned("Pendulum-v1", 0, "behavior", -400.25, 9.5, 50, 900, 10, 100, "abc")
        >>> print(returns_table([row]))
        | task | seed | in the data, mean |
        |---|---|---|
        | Pendulum-v1 | 0 | -400 +- 10 |

    :param rows: of any tasks and seeds
    """
    found = {(row.task, row.seed, row.who): row for row in rows}
    shown = [who for who in COLUMNS if any(row.who == who for row in rows)]
    lines = [
        [task, str(seed), *(_earned(found.get((task, seed, who))) for who in shown)]
        for task, seed in sorted({(row.task, row.seed) for row in rows})
    ]
    return markdown(["task", "seed", *(COLUMNS[who] for who in shown)], lines)


def _earned(row: Earned | None) -> str:
    if row is None:
        return "-"
    mean = f"{row.mean_return:.0f}"
    return f"{mean} +- {row.half_width:.0f}" if row.half_width else mean


def errors_table(rows: Sequence[HeldOut]) -> str:
    """
    Write errors by horizon as a table in Markdown, means over the seeds.

    Example:
        >>> from dreamzoo.benchmark.offline.results import errors_table
        >>> from dreamzoo.benchmark.offline.rows import HeldOut
        >>> rows = [HeldOut("Pendulum-v1", s, 5, "angle", 0.1 + s, 2.0, 64, "abc") for s in (0, 1)]
        >>> print(errors_table(rows))
        | task | what | 5 steps ahead |
        |---|---|---|
        | Pendulum-v1 | angle | 0.6 (2) |

    :param rows: of any tasks and seeds; horizons that are not in :data:`HORIZONS` are left out
    """
    horizons = [h for h in HORIZONS if any(row.horizon == h for row in rows)]
    lines = []
    for task, part in dict.fromkeys((row.task, row.part) for row in rows):
        cells = []
        for horizon in horizons:
            at = [r for r in rows if (r.task, r.part, r.horizon) == (task, part, horizon)]
            cells.append(_wrong(at) if at else "-")
        lines.append([task, part, *cells])
    return markdown(["task", "what", *(_ahead(h) for h in horizons)], lines)


def _ahead(steps: int) -> str:
    return f"{steps} step{'s' * (steps > 1)} ahead"


def _wrong(rows: Sequence[HeldOut]) -> str:
    """Write the error of the world, and if there is one that of saying that nothing changes."""
    means = np.mean([(row.predicted, row.unchanged) for row in rows], axis=0)
    predicted, unchanged = (f"{x:.2g}" for x in means)
    return predicted if unchanged == "nan" else f"{predicted} ({unchanged})"
