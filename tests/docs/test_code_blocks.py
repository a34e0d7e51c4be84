"""Python of the documents runs from the first block to the last; their command lines are read."""

import argparse
import ast
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import pytest

from dreamzoo import cli
from dreamzoo.analysis.playing import predict_play
from dreamzoo.cli import bench, benchmark
from dreamzoo.hub import package_to_hub
from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks
from tests.docs.tiny import SMALLER, STEPS, shrink, shrink_plans

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
        few = partial(predict_play, length=20, compared=4)
        monkeypatch.setattr("dreamzoo.hub.package.predict_play", few)
        film = partial(package_to_hub, video_length=STEPS)
        monkeypatch.setattr("dreamzoo.hub.package_to_hub", film)
    if name == "docs/cluster.md":
        pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
        from tests.envs.remote.fake_ray import stand_in

        stand_in(monkeypatch.setattr)
    for agent in SMALLER:
        shrink(agent, monkeypatch)
    shrink_plans(monkeypatch)
    matplotlib.use("Agg")  # MinAtar asks for windows in whatever process imports it
    for env in ("CartPole-v1", "Pendulum-v1"):  # evaluations play whole ones
        monkeypatch.setattr(gym.spec(env), "max_episode_steps", STEPS)
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


def inline(text: str) -> Iterator[list[str]]:
    """Find the commands of dreamzoo between backticks, but for those with something left out."""
    for line in re.findall(r"`(dreamzoo [^`\n]+)`", text):
        if not re.search(
            r"\.\.\.|\||[A-Z]{3}", line
        ):  # ``train ...``, ``train | evaluate``, COMMAND
            yield shlex.split(line)


COMMANDS = sorted(
    {
        (name, *words)
        for name in DOCUMENTS
        for block in BLOCKS[name]
        if block.language == "bash"
        for words in commands(block.text)
    }
)
INLINE = sorted({tuple(words) for name in DOCUMENTS for words in inline((ROOT / name).read_text())})
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
#: Commands of ``dreamzoo`` that have commands of their own.
NESTED = {"bench": bench.COMMANDS, "benchmark": benchmark.COMMANDS}


class Parsed(Exception):
    """A command has read its command line, and would begin."""


def main_of(script: str) -> Callable[[list[str]], None]:
    """Import a script and return its main function."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def parse(main: Callable[[list[str]], None], arguments: list[str]) -> None:
    """
    Let a command read its command line by its own parser, and go no further.

    :param main: runs the command
    :param arguments: of it
    :raises SystemExit: where its parser refuses them
    """
    whole = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: Any) -> argparse.Namespace:
        found = whole(self, *given)
        if hasattr(found, "arguments"):  # of ``dreamzoo`` and ``dreamzoo bench``: a command follows
            return found
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Parsed):
            main(arguments)


def check_dreamzoo(arguments: list[str]) -> None:
    """Check a command of ``dreamzoo``: RL Zoo's own by its name alone."""
    if "--help" in arguments:
        with pytest.raises(SystemExit, match="0"):
            cli.main(arguments)
    elif arguments[0] == "rl_zoo":
        assert len(arguments) == 1 or re.fullmatch(r"[a-z_]+", arguments[1])
    else:
        parse(cli.main, arguments)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words)[:70])
def test_command_lines_are_those_that_the_commands_read(command: tuple[str, ...]) -> None:
    program, *arguments = command[1:]
    if program == "torchrun":  # ranks of a command
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    program = Path(program).name
    if program == "make":
        targets = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.M)
        known = {target for line in targets for target in line.split()}
        assert {word for word in arguments if "=" not in word} <= known
    elif program == "dreamzoo":
        check_dreamzoo(arguments)
    elif program == "python" and arguments[0] != "-m":
        parse(main_of(arguments[0]), arguments[1:])
    elif program == "python":
        assert arguments[1] in {"venv", "tests.mutants", "scripts.torture"}
    else:
        assert program in FOREIGN


@pytest.mark.parametrize("command", INLINE, ids=lambda words: " ".join(words)[:70])
def test_commands_in_sentences_have_what_is_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence may name a command, or an option, without all that a command line needs."""
    name, *arguments = command[1:]
    known = NESTED.get(name, {})
    if arguments in ([], *([other] for other in known)):
        assert name in cli.COMMANDS
        return
    try:
        check_dreamzoo([name, *arguments])
    except SystemExit:
        left_out = r"(error: argument .*expected .*argument|arguments are required)"
        assert re.search(left_out, capsys.readouterr().err)


def test_what_a_command_does_not_read_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    parse(cli.main, ["bench", "update", "--size", "12m", "--threads", "2"])
    for wrong, why in (
        (["bench", "update", "--siz", "12m", "--no-such-thing"], "unrecognized arguments"),
        (["bench", "update", "--threads", "two"], "argument --threads"),
        (["evaluate", "--episodes", "3"], "required"),
        (["results"], "invalid choice"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse(cli.main, wrong)
        assert why in capsys.readouterr().err
    assert [*inline("`dreamzoo train -a x=1`, `dreamzoo train ...`, `dreamzoo COMMAND`")] == [
        ["dreamzoo", "train", "-a", "x=1"]
    ]
