"""What the commands that show results let a user choose."""

import argparse
from pathlib import Path
from typing import NamedTuple

from dreamzoo.benchmark.results.evaluations import Evaluation, ends, read_rows
from dreamzoo.cli.arguments import whole
from dreamzoo.envs import env_name


class Shown(NamedTuple):
    """
    What a command line wants to be shown.

    :param rows: evaluations
    :param frames: tasks, and at which frames their returns are shown
    """

    rows: list[Evaluation]
    frames: dict[str, int]


def add_shown(parser: argparse.ArgumentParser) -> None:
    """
    Let a command line choose results.

    :param parser: of the command
    """
    parser.add_argument(
        "results", type=Path, help="a csv of dreamzoo benchmark collect or run, or run's folder"
    )
    parser.add_argument(
        "--tasks", nargs="+", type=env_name, help="which, in order; default: all in the file"
    )
    parser.add_argument(
        "--frames", type=whole(1), help="where curves end; default: where those in the file do"
    )


def add_window(parser: argparse.ArgumentParser) -> None:
    """
    Let a command line choose over what returns are averaged.

    :param parser: of the command
    """
    # As the published numbers: the last evaluation alone is higher while one learns.
    parser.add_argument(
        "--window",
        type=whole(1),
        help="last frames whose evaluations are averaged; default: as many as in what is published "
        "of a task, else a fifth",
    )


def read_shown(args: argparse.Namespace) -> Shown:
    """
    Read what a command line chooses.

    :param args: of a parser with :func:`add_shown`
    :raises ValueError: if there is no such file, or nothing of a task in it
    """
    path: Path = args.results / "results.csv" if args.results.is_dir() else args.results
    if not path.is_file():
        raise ValueError(
            f"There is no file {path}; dreamzoo benchmark run or collect writes such files."
        )
    rows = read_rows(path)
    frames = ends(rows, args.tasks)
    if not frames:
        raise ValueError(f"{path} holds no evaluations.")
    return Shown(rows, dict.fromkeys(frames, args.frames) if args.frames else frames)
