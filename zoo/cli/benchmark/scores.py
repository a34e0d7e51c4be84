"""
Print what the episodes of training returned, as runs' replays say.

    dreamzoo benchmark scores runs/cartpole-reference-?

A score is the mean over environments of the mean of each one's last ten episodes.
"""

from pathlib import Path

from dreamzoo.benchmark.results.logs import read_scores, table_by_steps
from dreamzoo.cli.arguments import make_parser, plain_errors, whole


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark scores", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of dreamzoo train")
    parser.add_argument("--window", type=whole(1), default=2_000, help="steps of a column")
    parser.add_argument(
        "--trusted", action="store_true", help="of dreamzoo 0.1, too, whose replays run code"
    )
    args = parser.parse_args(argv)
    with plain_errors():
        scores = {
            str(run): read_scores(run, args.window, trusted=args.trusted) for run in args.runs
        }
        print(table_by_steps(scores))
