"""The reference of the site holds every public name, under headings that Sphinx finds."""

import importlib
import re
import sys
from typing import Any

import pytest

from tests.docs.documents import ROOT, blocks
from tests.docs.test_docstrings import named, public

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
#: Public as parts of annotations, which show what they stand for.
TYPES = {"dreamzoo.nn.beliefs.D", "dreamzoo.nn.state.S"}


def members(module: str, left_out: str) -> set[str]:
    """List what ``automodule`` shows of a module: what it lists, or what it defines."""
    found = importlib.import_module(module)
    own = [name for name, thing in vars(found).items() if _is_of(thing, module)]
    names = set(getattr(found, "__all__", own)) - set(re.split(r",\s*", left_out))
    return {f"{module}.{name}" for name in names if name[0] != "_"}


def _is_of(thing: Any, module: str) -> bool:
    return getattr(thing, "__module__", None) == module


def referred() -> set[str]:
    """List the names that the pages of the reference show."""
    names = set[str]()
    for page in PAGES:
        for block in blocks(page.read_text()):
            for kind, name, options in re.findall(
                r"^\.\. (?:py:|auto)(\w+):: (\S+)\n((?:   .*\n?)*)", block.text + "\n", re.M
            ):
                left_out = re.search(r":exclude-members: (.*)", options)
                if kind == "module":
                    names |= members(name, left_out.group(1) if left_out else "")
                if "." in name:
                    names.add(name)
    return names


def test_every_public_name_is_in_the_reference() -> None:
    names = referred()
    shown = {id(named(*name.rsplit(".", 1))) for name in names}
    lacking = {
        name
        for name in public() - names - TYPES
        if id(named(*name.rsplit(".", 1))) not in shown and not name.endswith("__version__")
    }
    assert not lacking


def test_no_name_is_described_twice() -> None:
    text = "".join(page.read_text() for page in PAGES)
    described = re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.M)
    assert len(described) == len(set(described))


def test_references_to_what_does_not_exist_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "extensions"))
    references = __import__("references")
    monkeypatch.delitem(sys.modules, "references")
    importlib.import_module("dreamzoo.dreamer_v3")
    for name in ("Size", "dreamzoo.nn.returns.lambda_return", "DreamerV3.losses", "torch.Tensor"):
        assert references.exists(name), name
    for name in ("NoSize", "dreamzoo.nn.returns.no_return", "DreamerV3.no_losses", "no.such.name"):
        assert not references.exists(name), name
