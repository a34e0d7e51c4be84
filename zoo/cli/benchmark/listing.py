"""
Print what dreamzoo benchmark run can train: comparisons, suites, agents and budgets.

    dreamzoo benchmark list
"""

from dreamzoo import AGENTS
from dreamzoo.benchmark.budgets import budgets_table
from dreamzoo.benchmark.comparisons import COMPARISONS
from dreamzoo.benchmark.results.table import markdown
from dreamzoo.benchmark.suites import suite_names
from dreamzoo.cli.arguments import make_parser
from dreamzoo.common.storage.agents import CONTRIB_AGENTS, SB3_AGENTS


def main(argv: list[str] | None = None) -> None:
    make_parser("benchmark list", __doc__).parse_args(argv)
    rows = [(f"`{name}`", comparison.about) for name, comparison in COMPARISONS.items()]
    print(markdown(("comparison", "of"), rows), budgets_table(), sep="\n\n", end="\n\n")
    print(f"suites: {', '.join(suite_names())}")
    print(f"agents: {', '.join(AGENTS)}")
    print(f"baselines: {', '.join([*SB3_AGENTS, *CONTRIB_AGENTS])}")
