"""
Print how training went, as runs' logs say: means over windows of steps.

    dreamzoo benchmark metrics runs/cartpole-reference-? --names imagined_return cont_loss
"""

from pathlib import Path

from dreamzoo.benchmark.results.logs import metrics_table
from dreamzoo.cli.arguments import make_parser, plain_errors, whole


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark metrics", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of dreamzoo train")
    parser.add_argument("--names", nargs="+", required=True, help='without "train/"')
    parser.add_argument("--window", type=whole(1), default=2_000, help="steps of a column")
    args = parser.parse_args(argv)
    with plain_errors():
        print(metrics_table(args.runs, args.names, args.window))
