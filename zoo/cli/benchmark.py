"""
Train the agents of a comparison, or go on where an earlier call was, and show what they score.

    dreamzoo benchmark list
    dreamzoo benchmark run discrete --jobs 2
    dreamzoo benchmark run dmc_proprio --agents dreamer_v2 --tasks dmc/walker-walk --seeds 0
    dreamzoo benchmark commands ablations --seeds 0 1

A comparison is a list of runs of ``dreamzoo train``, agents by tasks by seeds; ``commands`` prints
them. ``run`` trains each in a process of its own under ``runs/NAME``, with what it prints in a file
beside it. Interrupted, it goes on from the last saves when it is called again, and several calls,
of several terminals, share the work. Then it collects the finished runs of the comparison, prints
the table and draws the curves (results.csv and curves.png, beside the runs).
"""

import argparse
import shlex
from pathlib import Path

from dreamzoo.benchmark.comparisons import COMPARISONS
from dreamzoo.benchmark.many_runs import is_finished, train_all
from dreamzoo.benchmark.result_plot import plot_results
from dreamzoo.benchmark.result_table import result_table
from dreamzoo.benchmark.results import PUBLISHED, Evaluation, Published, collect, read_rows
from dreamzoo.benchmark.run_config import Run, command_line
from dreamzoo.cli.arguments import make_parser, plain_errors, seed, whole


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("benchmark", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print what can be compared")
    for name, purpose in [
        ("run", "train what is not trained yet, show the results"),
        ("commands", "print the commands that train"),
    ]:
        command = commands.add_parser(name, help=purpose)
        command.add_argument("comparison", choices=COMPARISONS)
        command.add_argument("--seeds", nargs="+", type=seed, default=[0, 1, 2])
        command.add_argument("--agents", nargs="+", help="or labels, default: all")
        command.add_argument("--tasks", nargs="+", help="default: all")
        command.add_argument("--out", type=Path, help="default: runs/COMPARISON")
        if name == "run":
            command.add_argument("--jobs", type=whole(1), default=1, help="at once, default: 1")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.command == "list":
        width = max(map(len, COMPARISONS)) + 2
        print("\n".join(f"{name:{width}}{c.about}" for name, c in COMPARISONS.items()))
        return
    folder = args.out or Path("runs") / args.comparison
    with plain_errors():
        runs = list(
            COMPARISONS[args.comparison].seeded(
                args.seeds, tasks=args.tasks, agents=args.agents, folder=folder
            )
        )
        if args.command == "commands":
            print("\n".join(shlex.join(["dreamzoo", "train", *command_line(r)]) for r in runs))
            return
        for run in runs:
            is_finished(run)  # raises for another run in its folder, before hours are spent
    failed = train_all(runs, args.jobs)
    with plain_errors():
        show(args.comparison, runs, folder)
    if failed:
        raise SystemExit(f"{len(failed)} of {len(runs)} runs failed.")


def show(name: str, runs: list[Run], folder: Path) -> None:
    """Collect the finished runs, print their table and draw their curves."""
    comparison = COMPARISONS[name]
    finished = [run.out for run in runs if is_finished(run)]
    if not finished:
        print("No run is finished.")
        return
    results = folder / "results.csv"
    collect(finished, results)
    own, published = read_rows(results, Evaluation), read_rows(PUBLISHED, Published)
    ran = {row.task for row in own}
    frames = {task: end for task, end in comparison.frames.items() if task in ran}
    print(result_table(own, published, frames, comparison.window))
    plot_results(own, published, frames).savefig(folder / "curves.png", dpi=120)
    print(f"Wrote {results} and {folder / 'curves.png'}.")
