"""What the subcommands' command lines share."""

import argparse
import ast
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def make_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """
    Make the parser of a subcommand.

    :param command: its name
    :param description: its module's documentation
    """
    return argparse.ArgumentParser(
        prog=f"dreamzoo {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_value(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is a Python literal or else a string."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what a user asked for in vain as one line, without a traceback."""
    try:
        yield
    except ValueError as error:
        raise SystemExit(str(error)) from error
