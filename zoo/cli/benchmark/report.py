"""
Write one page, in HTML, with the table, a picture of each task and the returns of every seed.

    dreamzoo benchmark report scripts/results/dmc_proprio.csv --out runs/report.html

Pictures are in the page itself, so that the file can be moved and sent.
"""

from pathlib import Path

from dreamzoo.benchmark.results.report import report
from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.cli.benchmark.shown import add_shown, add_window, read_shown


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark report", __doc__)
    add_shown(parser)
    add_window(parser)
    parser.add_argument("--title", help="default: the name of the file")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    with plain_errors():
        shown = read_shown(args)
        title = args.title or f"Results of {args.results.stem}"
        page = report(*shown, title=title, window=args.window)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(page, encoding="utf-8")
    print(f"Wrote {args.out}.")
