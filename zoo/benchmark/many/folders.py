"""What the folder of a run, and the files beside it, say of the run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dreamzoo.benchmark.results.evaluations import read_progress
from dreamzoo.benchmark.run_config import CONFIG, Run, changes, is_saved
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import newest


class Place(NamedTuple):
    """
    Where the process of a run is, or was; written beside the run's folder.

    :param token: of the attempt
    :param host: name of the machine
    :param pid: of the process
    :param gpus: those that it sees; empty: all
    :param goes_on: from a save, instead of beginning
    """

    token: str
    host: str
    pid: int
    gpus: str
    goes_on: bool


def write_place(out: Path, place: Place) -> None:
    """
    Say where the process of a run is.

    :param out: folder of the run
    :param place: of this process
    """
    with replaced_file(_beside(out), "json") as file:
        file.write(json.dumps(place._asdict()).encode())


def read_place(out: Path) -> Place | None:
    """
    Read where the process of a run is, or was.

    :param out: folder of the run
    :return: None: nobody has said it
    """
    try:
        return Place(**json.loads(_beside(out).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.where.json")


def is_begun(run: Run) -> bool:
    """Tell whether a run lies in its folder: not one with other settings."""
    return (run.out / CONFIG).exists() and not changes(run)


def is_finished(run: Run) -> bool:
    """Tell whether a run's folder holds its last save and all of its evaluations."""
    if not is_saved(run.out) or not is_begun(run):
        return False
    steps = newest(run.out).name.partition("_")[0]
    if steps.isdigit() and int(steps) < run.steps:  # dreamzoo 0.1 had no names of saves
        return False
    # It may have been for fewer steps, and may be evaluated at others than it was.
    return read_progress(run.out)._replace(steps=run.steps, spacing=run.eval_every).is_finished


def parents(runs: Iterable[Run]) -> set[Path]:
    """Make the folders in which those of runs lie, and list them."""
    found = {run.out.parent for run in runs}
    for folder in found:
        folder.mkdir(parents=True, exist_ok=True)
    return found
