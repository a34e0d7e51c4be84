"""Whatever is public shows in its docstring what it is for, and what it shows is true."""

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dreamzoo import AGENTS
from dreamzoo.benchmark.speed import soft_actor_critics
from dreamzoo.envs import procgen
from dreamzoo.envs.minecraft import install
from tests.docs.documents import DOCUMENTS, ROOT, blocks
from tests.facts import folder_of

FOLDERS = {"zoo": "dreamzoo", "wrappers": "dreamzoo.wrappers", "envs": "dreamzoo.envs"}

#: Packages whose ``__all__`` is public.
LISTED = (
    "dreamzoo",
    "dreamzoo.benchmark",
    "dreamzoo.envs",
    "dreamzoo.hyperparams",
    "dreamzoo.nn",
    "dreamzoo.nn.estimators",
    "dreamzoo.planning",
    "dreamzoo.playing",
    "dreamzoo.rl_zoo",
    "dreamzoo.testing",
    "dreamzoo.wrappers",
    "dreamzoo.wrappers.vector",
    *sorted({f"dreamzoo.{folder_of(agent)}" for agent in AGENTS}),
)
#: Modules that list nothing: what they define under a name without an underscore is public.
WHOLE = (
    "dreamzoo.analysis.agreement",
    "dreamzoo.analysis.agreement_report",
    "dreamzoo.analysis.callbacks",
    "dreamzoo.analysis.evaluation",
    "dreamzoo.analysis.figures",
    "dreamzoo.analysis.open_loop",
    "dreamzoo.analysis.open_loop_files",
    "dreamzoo.analysis.sb3_agents",
    "dreamzoo.analysis.sizes",
    "dreamzoo.analysis.training_in_dreams",
    "dreamzoo.nn.action_distributions",
    "dreamzoo.nn.actions",
    "dreamzoo.nn.beliefs",
    "dreamzoo.nn.distributions",
    "dreamzoo.nn.observations",
    "dreamzoo.nn.optim",
    "dreamzoo.nn.returns",
    "dreamzoo.nn.rssm.dynamics",
    "dreamzoo.nn.state",
)
#: Parts that agents are built of, in modules whose other parts only these use.
BUILDING_BLOCKS = (
    "dreamzoo.common.buffers.SequenceBatch",
    "dreamzoo.common.buffers.SequenceReplayBuffer",
    "dreamzoo.nn.networks.actors.DenseActor",
    "dreamzoo.nn.networks.actors.DenseHead",
    "dreamzoo.nn.networks.decoders.Decoder",
    "dreamzoo.nn.networks.encoders.Encoder",
    "dreamzoo.nn.networks.heads.Actor",
    "dreamzoo.nn.networks.heads.Head",
    "dreamzoo.nn.networks.heads.TwoHotHead",
    "dreamzoo.nn.networks.world_models.NormalHead",
    "dreamzoo.nn.networks.world_models.WorldModelsDecoder",
    "dreamzoo.nn.networks.world_models.WorldModelsEncoder",
    "dreamzoo.nn.rssm.block.BlockRSSM",
    "dreamzoo.nn.rssm.categorical.LayerNormRSSM",
    "dreamzoo.nn.rssm.gaussian.GaussianRSSM",
    "dreamzoo.nn.rssm.gaussian.GaussianSSM",
    "dreamzoo.nn.rssm.gaussian.overshoot",
    "dreamzoo.nn.rssm.imagination.Trajectory",
    "dreamzoo.nn.rssm.latents.NormalLatents",
    "dreamzoo.nn.rssm.latents.OneHotLatents",
)
#: Public, without an example, and why.
WITHOUT = {
    "dreamzoo.planning.Rollout": "a protocol; the example of CEM defines a function that fits it",
}
#: Files whose examples need a package that no extra brings, and the lines that install it.
SEPARATE = {
    r"envs/minecraft/(env|make)": ("minerl", install.INSTALL),
    r"envs/procgen": ("procgen", procgen.INSTALL),
}


class Example(NamedTuple):
    """
    A docstring with an example.

    :param path: of the module, relative to the repository
    :param name: of the class or function in it, with dots
    :param line: of the docstring's first line in the file, from 0
    :param text: the docstring
    """

    path: str
    name: str
    line: int
    text: str


def docstrings(path: Path) -> Iterator[Example]:
    """List the docstrings of a module that have examples, without importing it."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[Example]:
        for node in body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            text = ast.get_docstring(node, clean=False)
            if text is not None and ">>> " in text:
                line = node.body[0].lineno - 1
                yield Example(str(path.relative_to(ROOT)), prefix + node.name, line, text)
            yield from visit(node.body, f"{prefix}{node.name}.")

    return visit(ast.parse(path.read_text()).body, "")


EXAMPLES = [
    example
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    for example in docstrings(path)
]


def run(example: Example) -> str:
    """Run an example as a reader would who copies it: it must import what it uses."""
    parser, said = doctest.DocTestParser(), list[str]()
    path, globs = str(ROOT / example.path), {"__name__": "example"}
    test = parser.get_doctest(example.text, globs, example.name, path, example.line)
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda x: f"{x.path}:{x.name}")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_in_docstrings_run(
    example: Example,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    for where, (package, command) in SEPARATE.items():
        if re.match(where, example.path):
            pytest.importorskip(package, reason=f"needs {command}")
    if example.path.startswith("envs/remote"):
        ray = pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
        request.addfinalizer(ray.shutdown)
        if example.name == "RemoteVecEnv":
            from tests.envs.remote.fake_ray import stand_in

            stand_in(monkeypatch.setattr)
    monkeypatch.setattr(soft_actor_critics, "STORED", 50)  # steps of each of six agents
    monkeypatch.chdir(tmp_path)
    said = run(example)
    assert not said, said


def documented() -> Iterator[str]:
    """List what the documents import from dreamzoo."""
    for name in DOCUMENTS:
        for block in blocks((ROOT / name).read_text()):
            found = ast.walk(ast.parse(block.text)) if block.language == "python" else ()
            for node in found:
                if isinstance(node, ast.ImportFrom) and re.match("dreamzoo", node.module or ""):
                    yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public() -> set[str]:
    """List all that is public, under the name by which it is imported."""
    names = {*documented(), *BUILDING_BLOCKS}
    for package in LISTED:
        names |= {f"{package}.{name}" for name in importlib.import_module(package).__all__}
    for module in WHOLE:
        for name, thing in vars(importlib.import_module(module)).items():
            if getattr(thing, "__module__", None) == module and name[0] != "_":
                names.add(f"{module}.{name}")
    return names


def named(module: str, attribute: str) -> Any:
    """Import something; it may be a module itself."""
    found = getattr(importlib.import_module(module), attribute, None)
    return importlib.import_module(f"{module}.{attribute}") if found is None else found


def lacks_example(thing: Any) -> bool:
    is_ours = getattr(thing, "__module__", "").startswith("dreamzoo")
    kinds = inspect.isclass(thing) or inspect.isfunction(thing)
    return is_ours and kinds and ">>> " not in (thing.__doc__ or "")


def test_whatever_is_public_has_an_example() -> None:
    things = {name: name.rpartition(".") for name in public()}
    lacking = {
        name
        for name, (module, _, attribute) in things.items()
        if lacks_example(named(module, attribute))
    }
    assert lacking == set(WITHOUT)


def test_wrong_examples_are_noticed() -> None:
    wrong = Example("zoo/__init__.py", "f", 0, "Add.\n\nExample:\n    >>> 1 + 1\n    3\n")
    assert "Expected:\n    3\nGot:\n    2" in run(wrong)
    assert "NameError" in run(wrong._replace(text=">>> np.zeros(1)\n"))
    assert not run(wrong._replace(text=">>> 1 + 1\n2\n"))
