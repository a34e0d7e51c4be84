"""The package that users install is the one that lies in the repository."""

import importlib
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import dreamzoo
from dreamzoo.envs.minecraft.install import INSTALL

ROOT = Path(__file__).parents[1]
FOLDERS = {"dreamzoo": "zoo", "dreamzoo.wrappers": "wrappers", "dreamzoo.envs": "envs"}


def modules(package: str, folder: Path) -> list[str]:
    """
    List the modules that a folder holds, itself included.

    :param package: name under which the folder is imported
    :param folder: path of the folder
    :return: names of import
    """
    names = []
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


MODULES = [name for package, folder in FOLDERS.items() for name in modules(package, ROOT / folder)]


def test_packages_in_pyproject_equal_the_folders() -> None:
    # Without tomllib, which Python 3.10 has not.
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert listed is not None
    expected = {
        ".".join([package, *path.parent.relative_to(ROOT / folder).parts])
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert set(re.findall(r'"(.*?)"', listed.group(1))) == expected


@pytest.mark.parametrize("name", MODULES)
def test_module_imports_from_the_repository(name: str) -> None:
    if name == "dreamzoo.envs.minecraft.mission":
        pytest.importorskip("minerl", reason=f"needs {INSTALL}")
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_names_are_imported_when_they_are_first_used() -> None:
    code = (
        "import sys, dreamzoo; before = 'torch' in sys.modules; listed = dir(dreamzoo)\n"
        "agents = dreamzoo.AGENTS; assert agents is dreamzoo.AGENTS\n"
        "assert set(dreamzoo.__all__) <= set(listed)\n"
        "assert dreamzoo.DreamerV3 is agents['dreamer_v3'] is dreamzoo.dreamer_v3.DreamerV3\n"
        "print(before, dreamzoo.wrappers.__name__, hasattr(dreamzoo, 'no_such_thing'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "dreamzoo.wrappers", "False"]


def test_version_agrees_with_pyproject() -> None:
    listed = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert listed is not None
    assert dreamzoo.__version__ == version("dreamzoo") == listed.group(1)


def test_changelog_mentions_the_version() -> None:
    assert f"## {dreamzoo.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_shipped() -> None:
    assert files("dreamzoo").joinpath("py.typed").is_file()


def test_constraints_name_every_dependency() -> None:
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    metadata = (ROOT / "pyproject.toml").read_text().split("[tool.setuptools]")[0]
    asked = set(re.findall(r'"([\w-]+)(?:\[[\w,-]+\])?>=', metadata)) - {"setuptools"}
    assert asked == pinned
