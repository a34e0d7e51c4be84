"""
Print parameter counts and memory of every model size as a table.

    dreamzoo sizes
"""

from dreamzoo.analysis.sizes import sizes_table
from dreamzoo.cli.arguments import make_parser


def main(argv: list[str] | None = None) -> None:
    make_parser("sizes", __doc__).parse_args(argv)
    print(sizes_table())
