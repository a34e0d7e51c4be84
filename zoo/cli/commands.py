"""Commands with subcommands, of which only the one that runs is imported."""

import argparse
import importlib
import sys
from typing import NamedTuple

import dreamzoo


class Command(NamedTuple):
    """
    A subcommand.

    :param module: whose ``main(argv)`` it is
    :param summary: one line of help
    """

    module: str
    summary: str


def run(prog: str, description: str, commands: dict[str, Command], argv: list[str] | None) -> None:
    """
    Run the subcommand that the arguments name.

    :param prog: the command as it is typed
    :param description: what it is for
    :param commands: subcommands by name
    :param argv: the name of a subcommand and its arguments; None: those of the process
    """
    width = max(map(len, commands)) + 2
    listed = "\n".join(f"  {name:{width}}{c.summary}" for name, c in commands.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [options]",
        description=f"{description}\n\ncommands:\n{listed}",
        epilog=f"{prog} COMMAND --help lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=dreamzoo.__version__)
    parser.add_argument("command", choices=commands, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args((sys.argv[1:] if argv is None else argv) or ["--help"])
    try:
        module = importlib.import_module(commands[args.command].module)
    except ImportError as error:  # such as matplotlib's, for commands that draw
        raise SystemExit(" ".join(str(error).split())) from error
    module.main(args.arguments)
