"""The command itself: what it lists, and that it answers at once."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dreamzoo
from dreamzoo.cli import COMMANDS, bench, benchmark, main

ROOT = Path(__file__).parents[2]
NESTED = {"bench": bench.COMMANDS, "benchmark": benchmark.COMMANDS}
ALL = [[name] for name in COMMANDS] + [[of, name] for of in NESTED for name in NESTED[of]]


def test_help_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    nested = [([name, "--help"], commands) for name, commands in NESTED.items()]
    for arguments, commands in [([], COMMANDS), *nested]:
        with pytest.raises(SystemExit):
            main(arguments)
        lines = capsys.readouterr().out.splitlines()
        for name, command in commands.items():
            assert [x for x in lines if x.split() == [name, *command.summary.split()]]
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help_with_its_own_name(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['dreamzoo', *command])} ")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trian"])
    assert "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("benchmark plot", "matplotlib", "benchmark"),
        ("compare", "matplotlib", "video"),
        ("attention", "matplotlib", "video"),
        ("dream", "matplotlib", "video"),
        ("dream", "imageio", "video"),
        ("report", "matplotlib", "video"),
        ("report", "imageio", "video"),
    ],
)
def test_a_command_without_its_packages_says_which_to_install(
    command: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = ("dreamzoo.benchmark.results.plot", "dreamzoo.analysis", "dreamzoo.cli.")
    for name in list(sys.modules):
        if name.startswith((package, *drawing)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf'pip install "dreamzoo\[{extra}\]"'):
        main([*command.split(), "--help"])


def test_help_imports_neither_torch_nor_agents() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "try: from dreamzoo.cli import main; main()\n"
        "except SystemExit: print({'torch', 'stable_baselines3', 'matplotlib'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "set()"


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "dreamzoo", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == dreamzoo.__version__


def test_benchmarks_run_as_a_module() -> None:
    command = [sys.executable, "-m", "dreamzoo.benchmark", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("usage: dreamzoo benchmark COMMAND")


def test_the_installed_command_is_main() -> None:
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[1]
    found = re.search(r'^dreamzoo = "(.*):(.*)"$', scripts, re.MULTILINE)
    assert found is not None
    assert getattr(importlib.import_module(found[1]), found[2]) is main


def test_help_says_what_arguments_are_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--episodes EPISODES default: 50 " in said
    assert "--env ENV see dreamzoo.envs.make_env, default: CartPole-v1 " in said
    assert said.count("default: sampled policy") == 1
    with pytest.raises(SystemExit):
        main(["train", "--help"])  # whose arguments have none in the parser
    assert "SUPPRESS" not in capsys.readouterr().out
