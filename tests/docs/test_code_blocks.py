"""What the documents show runs: Python from the first block to the last, commands as written."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import matplotlib
import pytest

from dreamzoo import cli
from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks
from tests.docs.tiny import SMALLER, STEPS, shrink

BLOCKS = {name: list(blocks((ROOT / name).read_text())) for name in DOCUMENTS}
WITH_PYTHON = [name for name in DOCUMENTS if any(b.language == "python" for b in BLOCKS[name])]


def run(block: Block, name: str, namespace: dict[str, object]) -> None:
    """Run a block whose errors name the document's own lines."""
    tree = ast.increment_lineno(ast.parse(block.text), block.line - 1)
    exec(compile(tree, str(ROOT / name), "exec"), namespace)


@pytest.mark.parametrize("name", WITH_PYTHON)
def test_python_blocks_run_in_order(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    if name == "docs/hub.md":
        request.getfixturevalue("hub")  # a stand-in of the Hub
    if name == "docs/cluster.md":
        pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
        from tests.envs.remote.fake_ray import stand_in

        stand_in(monkeypatch.setattr)
    for agent in SMALLER:
        shrink(agent, monkeypatch)
    matplotlib.use("Agg")  # MinAtar asks for windows in whatever process imports it
    # The evaluation of a planner plays a whole one.
    monkeypatch.setattr(gym.spec("Pendulum-v1"), "max_episode_steps", STEPS)
    namespace: dict[str, object] = {"__name__": "document"}
    ran = 0
    for block in BLOCKS[name]:
        if block.language != "python":
            continue
        if block.not_run is not None:
            ast.parse(block.text)
            continue
        run(block, name, namespace)
        ran += 1
    assert ran > 0


def commands(text: str) -> Iterator[list[str]]:
    """Split a shell block into commands, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # settings of the environment
            words = words[1:]
        if words:
            yield words


COMMANDS = sorted(
    {
        (name, *words)
        for name in DOCUMENTS
        for block in BLOCKS[name]
        if block.language == "bash"
        for words in commands(block.text)
    }
)
#: Programs that are not ours: nothing to check here.
FOREIGN = {
    "pip",
    "sudo",
    "mkdir",
    "ln",
    "export",
    "git",
    "pytest",
    "ruff",
    "tensorboard",
    "hf",
    "ray",
}


#: Subcommands of ``dreamzoo`` that have subcommands.
NESTED = {"bench", "benchmark", "rl_zoo"}


def main_of(script: str) -> Callable[[list[str]], None]:
    """Import a script and return its main function."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def help_of(main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    return capsys.readouterr().out


def check_options(asked: list[str], known: str) -> None:
    options = {word.split("=")[0] for word in asked if re.match(r"--?[a-z]", word)}
    offered = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", known))
    assert options <= offered, options - offered


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words)[:70])
def test_commands_exist_with_their_options(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = command[1:]
    if program == "torchrun":  # ranks of a command
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    program = Path(program).name
    if program == "make":
        targets = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.M)
        known = {target for line in targets for target in line.split()}
        assert {word for word in arguments if "=" not in word} <= known
    elif program == "dreamzoo":
        depth = 2 if arguments[0] in NESTED else 1
        names = arguments[:depth]
        check_options(arguments[depth:], help_of(lambda end: cli.main([*names, *end]), capsys))
    elif program == "python" and arguments[0] != "-m":
        check_options(arguments[1:], help_of(main_of(arguments[0]), capsys))
    elif program == "python":
        assert arguments[1] in {"venv", "tests.mutants", "scripts.torture"}
    else:
        assert program in FOREIGN


def test_options_that_a_command_lacks_are_noticed() -> None:
    check_options(["--size", "12m", "-p", "x=-1"], "  -p P  --size SIZE  --sizes N")
    with pytest.raises(AssertionError, match="--siz"):
        check_options(["--siz=12m"], "  --size SIZE")
