"""
Learn worlds from 50 recorded episodes, train PPO in their dreams, and see what it earns in reality.

    pip install "dreamzoo[offline]" "minari[create]"
    python scripts/offline_worlds.py run                  # an hour or two; goes on where it stopped
    python scripts/offline_worlds.py run --tasks CartPole-v1 --seeds 0
    python scripts/offline_worlds.py table

Of each task an agent of SB3 is recorded at several moments of its training with Minari's own
collector. DreamerV3 learns from nine episodes of ten, without an environment; PPO sees nothing but
its dream. The settings are in zoo/benchmark/offline/tasks.py.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch as th

from dreamzoo.benchmark.offline import TASKS, record_behavior
from dreamzoo.benchmark.offline.results import errors_table, read_rows, returns_table, write_rows
from dreamzoo.benchmark.offline.rows import Earned, HeldOut
from dreamzoo.benchmark.offline.worlds import RESULTS, read_outcome, run_seed
from dreamzoo.offline import read_minari

RETURNS, ERRORS = "offline.csv", "offline_errors.csv"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do whatever the tables lack")
    run.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument(
        "--folder", type=Path, default=Path("runs/offline"), help="of all that is kept"
    )
    table = commands.add_parser("table", help="print what is finished")
    for command in (run, table):
        command.add_argument("--results", type=Path, default=Path("scripts/results"))
    return parser.parse_args(argv)


def run(tasks: Sequence[str], seeds: Sequence[int], folder: Path, results: Path) -> None:
    """
    Do what is not done yet, and write what is finished after every seed.

    :param tasks: of :data:`TASKS`
    :param seeds: one world and one PPO for each
    :param folder: of the datasets and all that is learned
    :param results: folder of the files of rows
    """
    # Minari asks this where its datasets are.
    os.environ["MINARI_DATASETS_PATH"] = str((folder / "datasets").resolve())
    th.set_num_threads(1)  # the networks are small: a second thread would mostly wait
    for seed in seeds:
        for name in tasks:
            recording = read_minari(record_behavior(TASKS[name]))
            run_seed(TASKS[name], recording, seed, folder / f"{name.replace('/', '-')}-{seed}")
            found = [read_outcome(path.parent) for path in folder.glob(f"*/{RESULTS}")]
            write_rows(results / RETURNS, [row for each in found for row in each.earned])
            write_rows(results / ERRORS, [row for each in found for row in each.errors])
            print(f"{name}, seed {seed}: finished", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Do the work, and print the tables."""
    args = parse_args(argv)
    if args.command == "run":
        run(args.tasks, args.seeds, args.folder, args.results)
    print(returns_table(read_rows(args.results / RETURNS, Earned)))
    print(f"\n{errors_table(read_rows(args.results / ERRORS, HeldOut))}")


if __name__ == "__main__":
    main()
