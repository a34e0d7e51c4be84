"""What command lines of scripts share."""

import ast
from typing import Any


def parse_value(text: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is a Python literal or else a string."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
