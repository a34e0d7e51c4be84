"""The house keeps its laws: who may know whom, no circles, nothing imported on the way."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dreamzoo import AGENTS
from tests.facts import folder_of

ROOT = Path(__file__).parents[1]
FOLDERS = {"zoo": "dreamzoo", "wrappers": "dreamzoo.wrappers", "envs": "dreamzoo.envs"}

#: An agent's room is whatever has losses of its own, even where nothing in it can be built.
AGENT_ROOMS = sorted(
    {*map(folder_of, AGENTS), *(path.parent.name for path in ROOT.glob("zoo/*/losses.py"))}
)

#: Rooms from the ground up. A module imports from its own room and from those that are named here.
KNOWS: dict[str, set[str]] = {
    "nn.fast": set(),
    "nn.rssm": {"nn", "nn.fast", "nn.networks"},
    "nn.networks": {"nn", "nn.fast"},
    "nn.memory": {"nn", "nn.fast", "nn.networks", "nn.rssm"},
    "nn": {"nn.fast", "nn.networks", "nn.rssm"},
    "wrappers": set(),
    "envs": {"nn", "nn.fast", "wrappers"},
    "common": {"nn", "nn.fast", "envs"},
    "planning": {"nn", "nn.fast", "common", "envs"},
    # An agent's files are mathematics; speed comes from below.
    **{
        agent: {"nn", "nn.networks", "nn.rssm", "nn.memory", "common", "planning"}
        for agent in AGENT_ROOMS
    },
    # Which tasks a paper trained on, and how, the benchmarks know.
    "hyperparams": {"planning", "envs", "benchmark"},
    # Any agent that dreams can be played with.
    "playing": {"nn", "envs", "common", "planning", "analysis"},
    # Models are uploaded with what is seen of them.
    "offline": {"common", "envs", "analysis"},
    "hub": {"common", "envs", "analysis"},
    # Its processes are whatever a command line says; a cluster is also that of environments.
    "launch": {"envs"},
    "testing": set(),  # agents are known by what they have
}
#: Of a room that knows all, nobody is asked whom it knows.
KNOWS_ALL = {"", "analysis", "benchmark", "cli", "rl_zoo", "__main__"}

#: What may be imported within functions, and why.
ON_THE_WAY = {
    "dreamzoo.nn.fast.triton": "written in Triton, which not every machine has",
    "dreamzoo.planning.dmc_rewards": "needs dm_control, an optional package",
    "dreamzoo.envs.minecraft.mission": "needs minerl, an optional package",
    "dreamzoo.common.policies.export": "needs onnx, an optional package",
    "dreamzoo": "from the name in a file to an agent: agents know the room that asks",
}
#: The only packages that the ground floor imports.
GROUND = {"torch", "numpy", "numba", "triton"}
#: What every installation has: dependencies of dreamzoo and of SB3.
ALWAYS = {
    *("dreamzoo", "torch", "gymnasium", "stable_baselines3", "numpy", "cloudpickle"),
    *("typing_extensions", "filelock"),
}
#: Modules that import other packages without a word of how to install them, and why.
WITHOUT_A_LINE = {
    "dreamzoo.nn.fast": "without numba or Triton the plain forms compute",
    "dreamzoo.benchmark.many.board": "without rich there are lines instead of a table",
    "dreamzoo.launch.on_node": "runs in processes of Ray",
    "dreamzoo.envs.minecraft.mission": "imported where that line is told",
    "dreamzoo.envs.remote.worker": "copies what Ray has brought: it is there",
    "dreamzoo.rl_zoo.commands": "begins by asking for the package",
    "dreamzoo.envs.minigrid": "asks for the package before it makes an environment",
    "dreamzoo.planning.dmc_rewards": "an environment of dm_control is there already",
    "dreamzoo.planning.true_simulator": "an environment of dm_control is there already",
    "dreamzoo.playing.painters": "an environment of dm_control is there already",
}


class Import(NamedTuple):
    """
    One module that another imports.

    :param module: the importing one
    :param target: the imported one
    :param is_inside: within a function
    :param is_for_types: for type checkers only
    :param has_line: whether its absence is told with the line that installs it, or handled
    """

    module: str
    target: str
    is_inside: bool
    is_for_types: bool
    has_line: bool


def _modules() -> dict[str, Path]:
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(p for p in parts if p != "__init__")])] = path
    return found


MODULES = _modules()


def _caught(node: ast.Try) -> Iterator[ast.expr]:
    return (handler.type for handler in node.handlers if handler.type is not None)


def _imports(module: str) -> Iterator[Import]:
    tree = ast.parse(MODULES[module].read_text())

    def walk(node: ast.AST, inside: bool, for_types: bool, has_line: bool) -> Iterator[Import]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = True
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for_types = True
        if isinstance(node, ast.With) and "requires" in ast.unparse(node.items[0]):
            has_line = True
        if isinstance(node, ast.Try) and "ImportError" in map(ast.unparse, _caught(node)):
            has_line = True
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = full if full in MODULES else node.module
                yield Import(module, target, inside, for_types, has_line)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, inside, for_types, has_line)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside, for_types, has_line)

    yield from walk(tree, False, False, False)


IMPORTS = [found for module in MODULES for found in _imports(module)]
OWN = [found for found in IMPORTS if found.target.split(".")[0] == "dreamzoo"]


def _room(module: str) -> str:
    parts = module.split(".")[1:]
    if parts[:1] == ["nn"] and parts[1:2] and parts[1] in ("fast", "rssm", "networks", "memory"):
        return ".".join(parts[:2])
    return parts[0] if parts and ".".join(["dreamzoo", parts[0]]) in MODULES else ""


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 100
    assert len(OWN) > 300
    assert {_room(module) for module in MODULES} <= KNOWS.keys() | KNOWS_ALL


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_knows_only_what_lies_below(room: str) -> None:
    allowed = KNOWS[room] | {room}
    wrong = [
        f"{found.module} imports {found.target}"
        for found in OWN
        if _room(found.module) == room
        and not found.is_for_types
        and _room(found.target) not in allowed
        and not (found.is_inside and found.target in ON_THE_WAY)
    ]
    assert not wrong


def test_no_agent_knows_another() -> None:
    for agent in AGENT_ROOMS:
        assert not any(agent in known for known in KNOWS.values())


#: Tests of what an agent must do, however it is written.
OF_BEHAVIOR = ["alignment", "checklist", "imagination", "losses", "networks", "pitfalls", "updates"]


def _private_names(tree: ast.AST) -> list[str]:
    """List the attributes whose names say that nobody else may know them."""
    named_tuples = {"_replace", "_make", "_asdict", "_fields"}  # public in spite of their names
    return [
        f"line {node.lineno}: {node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
        if node.attr not in named_tuples
    ]


@pytest.mark.parametrize("agent", AGENT_ROOMS)
def test_tests_of_an_agents_behavior_use_no_private_names(agent: str) -> None:
    for name in OF_BEHAVIOR:
        for path in (ROOT / "tests" / agent).glob(f"*{name}.py"):
            private = _private_names(ast.parse(path.read_text()))
            assert not private, path.name


def test_no_test_of_a_pitfall_uses_private_names() -> None:
    found = 0
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_pitfall"):
                found += 1
                private = _private_names(node)
                assert not private, f"{path.name}: {node.name}"
    assert found > 20


def test_the_ground_floor_stands_on_torch_alone() -> None:
    wrong = [
        f"{found.module} imports {found.target}"
        for found in IMPORTS
        if _room(found.module) == "nn.fast" and _room(found.target) != "nn.fast"
        if found.target.split(".")[0] not in GROUND | sys.stdlib_module_names
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["stable_baselines3", "gymnasium"])
def test_networks_know_nothing_of_the_framework(package: str) -> None:
    spaces = {"gymnasium"}  # codecs read what spaces say
    wrong = {
        found.module
        for found in IMPORTS
        if _room(found.module).startswith("nn") and found.target.split(".")[0] == package
    }
    if package in spaces:
        codecs = {"dreamzoo.nn.actions", "dreamzoo.nn.observations", "dreamzoo.nn.checks"}
        codecs |= {"dreamzoo.nn.networks.decoders"}
        wrong -= codecs
    assert not wrong


def test_nothing_is_imported_on_the_way_without_a_reason() -> None:
    wrong = [
        f"{found.module} imports {found.target} within a function"
        for found in OWN
        if found.is_inside
        and not any(
            found.target == name or found.target.startswith(f"{name}.")
            for name in ON_THE_WAY
            if name != "dreamzoo" or found.target == "dreamzoo"
        )
        and _room(found.module) not in KNOWS_ALL
    ]
    assert not wrong


def test_a_package_that_may_be_missing_is_named_with_the_line_that_installs_it() -> None:
    wrong = [
        f"{found.module} imports {found.target}"
        for found in IMPORTS
        if found.target.split(".")[0] not in ALWAYS | sys.stdlib_module_names
        and not found.has_line
        and not found.is_for_types
        and not any(f"{found.module}.".startswith(f"{name}.") for name in WITHOUT_A_LINE)
    ]
    assert not wrong


def test_there_are_no_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OWN:
        if not found.is_inside and not found.is_for_types and found.target != found.module:
            graph[found.module].add(found.target)
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, [*way, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


def test_agents_share_no_run_of_six_lines() -> None:
    """What two agents have in common lies in common."""
    seen: dict[tuple[str, ...], str] = {}
    wrong = []
    for agent in AGENT_ROOMS:
        found = {}
        for path in (ROOT / "zoo" / agent).rglob("*.py"):
            lines = [x for x in path.read_text().splitlines() if x.strip() not in "]})"]
            for i in range(len(lines) - 5):
                found[tuple(lines[i : i + 6])] = f"{path.name}: {lines[i].strip()}"
        wrong += [f"{found[run]} = {seen[run]}" for run in found.keys() & seen.keys()]
        seen |= {run: f"{agent}/{where}" for run, where in found.items()}
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_a_reader_bears(module: str) -> None:
    lines = MODULES[module].read_text().count("\n")
    assert lines <= 500
