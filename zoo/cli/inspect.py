"""
Say what a file holds: agent, spaces, settings, steps, sizes, versions, and what needs trust.

    dreamzoo inspect model.zip
    dreamzoo inspect runs/walker --all

Of a folder of dreamzoo train all files of the newest save are described. Everything is read and
checked, nothing is built, and no code of a file runs.
"""

import argparse
import pathlib

from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.common.storage.inspection import describe


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("inspect", __doc__)
    parser.add_argument("path", type=pathlib.Path, help="file, or folder of dreamzoo train")
    parser.add_argument(
        "--all", action="store_true", help="show settings that are as they are by default, too"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with plain_errors(trusting="trusted=True"):  # nothing is loaded here
        print(describe(args.path, args.all))
