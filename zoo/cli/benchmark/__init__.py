"""The command ``dreamzoo benchmark``."""

from dreamzoo.cli.commands import Command
from dreamzoo.cli.commands import run as run_one  # a module here is called run

_PACKAGE = "dreamzoo.cli.benchmark"
COMMANDS = {
    "list": Command(f"{_PACKAGE}.listing", "comparisons, suites, agents and budgets"),
    "run": Command(f"{_PACKAGE}.run", "train what is not trained yet, show the results"),
    "commands": Command(f"{_PACKAGE}.commands", "print the commands that run would train by"),
    "collect": Command(f"{_PACKAGE}.collect", "add runs of dreamzoo train to a file of results"),
    "table": Command(f"{_PACKAGE}.table", "print a table of results beside published ones"),
    "plot": Command(f"{_PACKAGE}.plot", "draw curves of results beside published ones"),
    "report": Command(f"{_PACKAGE}.report", "write one page with tables and pictures"),
    "metrics": Command(f"{_PACKAGE}.metrics", "print how training went, by a run's logs"),
    "scores": Command(f"{_PACKAGE}.scores", "print what episodes of training returned"),
}


def main(argv: list[str] | None = None) -> None:
    """
    Run ``dreamzoo benchmark``.

    :param argv: arguments; None: those of the process
    """
    run_one("dreamzoo benchmark", "Train, compare and show agents.", COMMANDS, argv)
