"""
Print a table of results, agents by tasks, beside what is published.

    dreamzoo benchmark table scripts/results/dmc_proprio.csv
    dreamzoo benchmark table runs/dmc_proprio-laptop --tasks dmc/walker-walk --frames 20000

Own numbers are means over the seeds, with the range from the lowest to the highest. Where there are
three tasks and three seeds of each, whose returns have a common scale, a last column has the
interquartile mean over all of them with a stratified bootstrap's interval, as rliable computes it.

Published curves are those that the authors released: with DreamerV3's code
(github.com/danijar/dreamerv3, folder scores) means over windows of frames, with that of DreamerV1
and DreamerV2 evaluations of agents that see pixels.
"""

from dreamzoo.benchmark.results.table import result_table
from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.cli.benchmark.shown import add_shown, add_window, read_shown


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark table", __doc__)
    add_shown(parser)
    add_window(parser)
    args = parser.parse_args(argv)
    with plain_errors():
        shown = read_shown(args)
        print(result_table(*shown, args.window).markdown)
