"""
Estimate what training at larger scale needs, as tables.

What ranks tell each other, the memory of the replay and what is read of it, and environments for
one GPU:

    dreamzoo scaling
    dreamzoo scaling --sizes 12m 200m --update 18.7 --acting 0.46 1.1 --ranks 8

Of DreamerV3 on images of 64x64x3, with batches of 16 x 64. Arithmetic is counted, by making a small
update of each size; bytes are those of the replay's own layout. Times follow from the few that
--update, --acting and --of give, which are measured: larger models are taken to do as much
arithmetic in a second, and so to be rather slower than they are.
"""

import argparse

from dreamzoo.benchmark.scaling import Measured, update_cost
from dreamzoo.benchmark.scaling_tables import (
    exchange_table,
    feeding_table,
    reading_table,
    replay_table,
)
from dreamzoo.cli.arguments import make_parser, plain_errors, whole

SIZES = ("12m", "25m", "50m", "100m", "200m", "400m")


def milliseconds(text: str) -> float:
    """Read a positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give positive milliseconds.")
    return value


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("scaling", __doc__)
    given = Measured()
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="models")
    parser.add_argument("--of", default=given.size, help="model whose times are given")
    parser.add_argument(
        "--update", type=milliseconds, default=given.update, help="its milliseconds of an update"
    )
    parser.add_argument(
        "--acting",
        type=milliseconds,
        nargs=2,
        default=given.acting,
        help="its milliseconds of acting with 1 and with 16 environments",
    )
    parser.add_argument("--ranks", type=whole(2), default=8)
    args = parser.parse_args(argv)
    with plain_errors():
        costs = {size: update_cost(size) for size in {args.of, *args.sizes}}
        per_gflop = args.update / costs[args.of].gflop
        chosen = [costs[size] for size in args.sizes]
        tables = [exchange_table(chosen, per_gflop, args.ranks), replay_table(args.sizes)]
        tables.append(reading_table(chosen, per_gflop))
        tables.append(feeding_table(args.of, args.update, tuple(args.acting)))
    print("\n\n".join(tables))
