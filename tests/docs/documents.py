"""Read the repository's documents: their code blocks, headings and links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
#: Every document for readers, with a path relative to the repository.
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
]
#: A comment above a block says why no test runs it: ``<!-- not run: needs a GPU -->``.
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
FENCE = re.compile(r"^```([^\s`]*).*$")


class Block(NamedTuple):
    """
    A fenced block.

    :param language: after the opening fence
    :param line: number of the line of its first line of text, from 1
    :param text: between the fences
    :param not_run: why no test runs it; None: it is run
    """

    language: str
    line: int
    text: str
    not_run: str | None


def blocks(text: str) -> Iterator[Block]:
    """
    Find the fenced blocks of a document.

    :param text: Markdown
    :return: blocks in order
    """
    lines = text.splitlines()
    start, language = None, ""
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if fence is None:
            continue
        if start is None:
            # A cell of a tutorial is Python, which Sphinx runs as well.
            start, language = number, fence.group(1).replace("{code-cell}", "python")
            continue
        above = [other for other in lines[:start] if other.strip()]
        reason = NOT_RUN.fullmatch(above[-1].strip()) if above else None
        inside = "\n".join(lines[start + 1 : number])
        yield Block(language, start + 2, inside, None if reason is None else reason.group(1))
        start = None
    if start is not None:
        raise ValueError(f"The block that line {start + 1} opens has no end.")


def prose(text: str) -> str:
    """Leave out what stands in fenced blocks and between backticks."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.M))


def links(text: str) -> list[str]:
    """
    List the targets of links and images.

    :param text: Markdown
    :return: as written, addresses of the web included
    """
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """
    List the anchors of headings, as GitHub and MyST name them.

    :param text: Markdown
    """
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.M), re.M
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
