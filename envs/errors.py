"""Errors that say what to do: a missing extra, a mistyped name."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches


@contextmanager
def requires(command: str) -> Iterator[None]:
    """
    Turn a missing package into the command that installs it.

    Errors other than a missing package (a broken installation, say) pass unchanged.

    :param command: to be typed in a shell
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is not installed. Install it with: {command}") from error


def requires_extra(extra: str) -> AbstractContextManager[None]:
    """
    Turn a missing package into the pip command that installs it.

    :param extra: name of the extra of dreamzoo that holds the packages imported inside
    """
    return requires(f'pip install "dreamzoo[{extra}]"')


def unknown_name(kind: str, name: str, choices: Collection[str]) -> ValueError:
    """
    Return the error for a name that does not exist, with the nearest ones that do.

    :param kind: what the name stands for, such as "Atari game"
    :param name: what was given
    :param choices: all names that exist
    :return: the error, to be raised by the caller
    """
    by_lower_case = {choice.lower(): choice for choice in choices}
    matches = get_close_matches(name.lower(), by_lower_case, n=3)
    nearest = [by_lower_case[match] for match in matches]
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else f"Choose from {sorted(choices)}."
    return ValueError(f"Unknown {kind} {name!r}. {hint}")


def find_name(kind: str, name: str, choices: Collection[str]) -> str:
    """
    Return the choice that a name means, whatever its case and its underscores and hyphens.

    :param kind: what the name stands for, such as "Atari game"
    :param name: what was given
    :param choices: all names that exist
    :raises ValueError: if none is meant
    """
    by_plain_name = {_plain(choice): choice for choice in choices}
    if _plain(name) not in by_plain_name:
        raise unknown_name(kind, name, choices)
    return by_plain_name[_plain(name)]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
