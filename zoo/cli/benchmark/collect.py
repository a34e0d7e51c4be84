"""
Add runs of dreamzoo train to a file of results, finished or as far as they are.

    dreamzoo benchmark collect runs/dmc/*-sac-? --to scripts/results/dmc_proprio.csv

There is one row for each evaluation, in place of earlier rows of the same agent, task and seed. An
agent's name there is the one that dreamzoo train was given, or what --label calls it.
"""

from pathlib import Path

from dreamzoo.benchmark.results.evaluations import collect
from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.common.storage.files import with_suffix


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark collect", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of dreamzoo train")
    parser.add_argument("--to", type=Path, required=True, help="file, a csv")
    args = parser.parse_args(argv)
    to = with_suffix(args.to, "csv")
    with plain_errors():
        found = collect(args.runs, to)
    for path, progress in found.unfinished.items():
        print(f"{path} is not finished: at {progress.evaluated:,} of {progress.steps:,} steps.")
    print(f"Wrote {found.evaluations} evaluations of {len(args.runs)} runs to {to}.")
