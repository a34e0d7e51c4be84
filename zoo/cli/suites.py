"""
Print the suites of the papers, or the tasks of some of them, as tables.

    dreamzoo suites
    dreamzoo suites procgen crafter

What stands under "environment" is what ``dreamzoo train --env`` and ``make_env`` take. Frames,
environments, train ratio and size are those of DreamerV3's paper, with which ``dreamzoo train
--published`` trains.
"""

from dreamzoo.benchmark.suite_tables import suites_table, tasks_table
from dreamzoo.benchmark.suites import suite, suite_names
from dreamzoo.cli.arguments import make_parser


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("suites", __doc__)
    parser.add_argument("names", nargs="*", metavar="SUITE", help=", ".join(suite_names()))
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in suite_names()]
    if unknown:
        parser.error(f"there is no suite {unknown[0]!r}; there are {', '.join(suite_names())}")
    if not args.names:
        print(suites_table())
    for name in args.names:
        found = suite(name)
        needs = found.unavailable or (f"Needs: {found.install}" if found.install else "")
        print(f"{name}: {found.about}. {needs}".rstrip(), "", tasks_table(name), "", sep="\n")
