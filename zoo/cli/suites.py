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
from dreamzoo.cli.arguments import make_parser, plain_errors


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("suites", __doc__)
    parser.add_argument("names", nargs="*", metavar="SUITE", help=", ".join(suite_names()))
    args = parser.parse_args(argv)
    with plain_errors():
        chosen = [suite(name) for name in args.names]
    if not chosen:
        print(suites_table())
    for found in chosen:
        needs = found.unavailable or (f"Needs: {found.install}" if found.install else "")
        head = f"{found.name}: {found.about}. {needs}".rstrip()
        print(head, "", tasks_table(found.name), "", sep="\n")
