"""The documents are short enough to be read, and lead where they say."""

import re
from pathlib import Path

import pytest

from dreamzoo import cli
from tests.docs.documents import DOCUMENTS, ROOT, anchors, blocks, links


def test_readme_is_read_to_its_end() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_images_resolve(name: str) -> None:
    for target in links((ROOT / name).read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        other = (ROOT / name).parent / path if path else ROOT / name
        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other.read_text()), target


def test_every_extra_is_in_the_table_of_installation() -> None:
    project = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    extras = set(re.findall(r"^([\w-]+) = \[", project.split("\n[")[0], re.MULTILINE))
    listed = re.findall(
        r"^\| `([\w-]+)` \|", (ROOT / "docs/installation.md").read_text(), re.MULTILINE
    )
    assert len(extras) > 15
    assert extras - {"all", "dev"} == set(listed)


def test_every_page_is_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")}
    listed = {"index"}
    for page in pages:
        for block in blocks((docs / f"{page}.md").read_text()):
            if block.language == "{toctree}":
                names = [line for line in block.text.splitlines() if line and line[0] != ":"]
                listed |= {
                    Path(page).with_name(name).as_posix() for name in names if "/" not in name
                }
                listed |= {name for name in names if "/" in name}
    assert listed == pages


def test_every_command_and_script_is_listed() -> None:
    listed = set(re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "commands.md").read_text(), re.M))
    scripts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts").rglob("*.py")}
    assert listed == {f"dreamzoo {name}" for name in cli.COMMANDS} | scripts


def test_every_picture_is_shown() -> None:
    shown = {
        target.rsplit("/", 1)[-1]
        for name in DOCUMENTS
        for target in links((ROOT / name).read_text())
    }
    assert {path.name for path in (ROOT / ".github" / "images").iterdir()} <= shown


def test_unknown_anchors_and_open_blocks_are_noticed() -> None:
    text = "# One `b` heading\n\n```bash\n# no heading\n```\n[x](a.md#y) `[not](a)`"
    assert anchors(text) == {"one-b-heading"}
    assert links(text) == ["a.md#y"]
    (cell,) = blocks("```{code-cell} ipython3\nx = 1\n```")
    assert cell.language == "python"  # tutorials are run like all other blocks
    with pytest.raises(ValueError, match="line 3"):
        list(blocks("\n\n```python\nx"))
