"""
Collect finished runs of dreamzoo train, set them beside published curves.

    dreamzoo results collect runs/dmc/*-sac-? --to scripts/results/dmc_proprio.csv
    dreamzoo results table --frames 50000
    dreamzoo results plot --frames 50000 --out runs/curves.png
    dreamzoo results metrics runs/cartpole-reference-? --names imagined_return cont_loss
    dreamzoo results scores runs/cartpole-reference-?

``collect`` adds one row for each evaluation, in place of earlier rows of the same agent, task and
seed. Three seeds carry no interval worth its name and no bootstrap (so no rliable): table and
picture show the mean over the seeds and the range from the lowest to the highest.

``metrics`` shows how training went, as its logs say: means over windows of steps. ``scores`` shows
what the episodes of training returned, as the replay says: the mean over environments of the mean
of each one's last ten.

An agent's name there is the one that ``dreamzoo train`` was given, or what ``--label`` calls it.

Published curves are those that the authors released: with DreamerV3's code
(github.com/danijar/dreamerv3, folder scores) means over windows of about 25,000 frames, with that
of DreamerV1 and DreamerV2 evaluations of agents that see pixels.
"""

import argparse
from pathlib import Path

from dreamzoo.benchmark.result_plot import plot_results
from dreamzoo.benchmark.result_table import result_table
from dreamzoo.benchmark.results import (
    PUBLISHED,
    WINDOW,
    Evaluation,
    Published,
    collect,
    read_rows,
)
from dreamzoo.benchmark.run_logs import metrics_table, read_scores, table_by_steps
from dreamzoo.cli.arguments import make_parser, picture, plain_errors, whole

OWN = Path("scripts/results/dmc_proprio.csv")
TASKS = ["dmc/walker-walk", "dmc/cartpole-swingup", "dmc/reacher-easy"]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("results", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="add finished runs to a file")
    collecting.add_argument("runs", nargs="+", type=Path)
    collecting.add_argument("--to", type=Path, required=True)
    for name, purpose in [("table", "print a markdown table"), ("plot", "draw the curves")]:
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--results", type=Path, default=OWN)
        command.add_argument("--published", type=Path, default=PUBLISHED)
        command.add_argument("--tasks", nargs="+", default=TASKS)
        command.add_argument("--frames", type=whole(1), default=50_000)
        if name == "plot":
            command.add_argument("--out", type=picture, required=True)
        else:
            # As the published numbers: the last evaluation alone is higher while one learns.
            command.add_argument("--window", type=whole(1), default=WINDOW, help="in frames")
    logged = commands.add_parser("metrics", help="print how training went")
    logged.add_argument("--names", nargs="+", required=True, help='without "train/"')
    scored = commands.add_parser("scores", help="print what the episodes of training returned")
    scored.add_argument(
        "--trusted", action="store_true", help="of dreamzoo 0.1, too, whose replays run code"
    )
    for command in (logged, scored):
        command.add_argument("runs", nargs="+", type=Path)
        command.add_argument("--window", type=whole(1), default=2_000, help="steps of a column")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with plain_errors():
        print(run(args))


def run(args: argparse.Namespace) -> str:
    """Do what a command line asks for; return what to print."""
    if args.command == "collect":
        count = collect(args.runs, args.to)
        return f"Wrote {count} evaluations of {len(args.runs)} runs to {args.to}."
    if args.command == "metrics":
        return metrics_table(args.runs, args.names, args.window)
    if args.command == "scores":
        trusted = args.trusted
        scores = {run.name: read_scores(run, args.window, trusted=trusted) for run in args.runs}
        return table_by_steps(scores)
    for path in (args.results, args.published):
        if not path.is_file():
            raise ValueError(f"There is no file {path}; dreamzoo results collect writes one.")
    own, published = read_rows(args.results, Evaluation), read_rows(args.published, Published)
    frames = dict.fromkeys(args.tasks, args.frames)
    if args.command == "table":
        return result_table(own, published, frames, args.window)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    plot_results(own, published, frames).savefig(args.out, dpi=120)
    return f"Wrote {args.out}."
