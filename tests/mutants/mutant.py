"""What a planted mistake is."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """
    A realistic mistake, planted in one place.

    :param what: the mistake in words
    :param file: where, from the repository's root
    :param old: what stands there, exactly once
    :param new: what stands there with the mistake
    :param tests: files or folders of tests that are tried first, in this order
    :param unnoticed: why no fast test can notice it, if that is so
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    unnoticed: str = ""
