"""
Draw curves of results: each seed, the mean of each agent, what is published of the task.

    dreamzoo benchmark plot scripts/results/dmc_proprio.csv --out runs/curves.png
    dreamzoo benchmark plot runs/dmc_proprio-laptop --out runs/pictures

A name that ends in .png or the like is one picture of all tasks; any other is a folder for a
picture of each task.
"""

from pathlib import Path

from dreamzoo.benchmark.results.plot import DPI, plot_results, plot_tasks
from dreamzoo.cli.arguments import make_parser, picture, plain_errors
from dreamzoo.cli.benchmark.shown import add_shown, read_shown


def _out(text: str) -> Path:
    """Read the name of a picture, or of a folder for pictures."""
    return picture(text) if Path(text).suffix else Path(text)


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark plot", __doc__)
    add_shown(parser)
    parser.add_argument("--out", type=_out, required=True)
    args = parser.parse_args(argv)
    with plain_errors():
        rows, frames = read_shown(args)
        if args.out.suffix:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            plot_results(rows, frames).savefig(args.out, dpi=DPI)
            written = [args.out]
        else:
            written = list(plot_tasks(rows, frames, args.out).values())
    print(f"Wrote {', '.join(map(str, written))}.")
