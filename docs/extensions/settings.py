"""The directive ``settings``: what a class can be told, from its docstring and its signature."""

import importlib
import inspect
import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dreamzoo.common.arguments import POLICY_DEFAULTS, REPLAY_DEFAULTS

#: What every agent takes; it has tables of its own.
SHARED = {*REPLAY_DEFAULTS, *POLICY_DEFAULTS}
#: What stands at the beginning of every constructor, and what SB3 alone passes.
PLUMBING = {"policy", "env", "observation_space", "action_space", "lr_schedule"}
PLUMBING |= {"_init_setup_model"}


def described(docstring: str) -> dict[str, str]:
    """
    Read what a docstring says of parameters.

    :param docstring: with ``:param name:`` at the start of lines
    :return: text by name, on one line
    """
    fields = re.split(r"^:(\w+)(?: (\w+))?:", inspect.cleandoc(docstring), flags=re.M)[1:]
    parts = zip(*[iter(fields)] * 3, strict=True)
    return {name: " ".join(text.split()) for kind, name, text in parts if kind == "param"}


def shown(default: Any) -> str:
    """Write a default as one would type it, but for numbers of many digits."""
    if default is inspect.Parameter.empty:
        return ""
    if inspect.isclass(default):
        return f"``{default.__name__}``"
    if isinstance(default, float):
        return f"``{default:.6g}``"
    return f"``{default:_}``" if type(default) is int else f"``{default!r}``"


def rows(name: str) -> list[tuple[str, str, str]]:
    """
    List the settings of a class or of a dictionary of arguments.

    :param name: of import
    :return: name, default and description of each
    """
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    text = described(thing.__doc__)
    if hasattr(thing, "__required_keys__"):  # a TypedDict of what agents share
        text = {key: said for base in (*thing.__orig_bases__, thing) for key, said in of(base)}
        defaults: dict[str, Any] = {**REPLAY_DEFAULTS, **POLICY_DEFAULTS}
        left_out = PLUMBING
    else:
        parameters = inspect.signature(thing).parameters.values()
        defaults = {parameter.name: parameter.default for parameter in parameters}
        takes_shared = {"cuda_graph", "images"} & set(defaults)
        left_out = PLUMBING | (SHARED if takes_shared else set())
    return [(key, shown(defaults[key]), text[key]) for key in text if key not in left_out]


def of(thing: Any) -> list[tuple[str, str]]:
    """List what the docstring of a class says, nothing if it has none."""
    return list(described(getattr(thing, "__doc__", None) or "").items())


class Settings(SphinxDirective):
    """``.. settings:: dreamzoo.DreamerV3``: a table of settings, their defaults and meanings."""

    required_arguments: ClassVar[int] = 1  # type: ignore[misc]

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 24 14 62", ""]
        for cells in [("setting", "default", "meaning, unit, source"), *self._cells()]:
            for start, cell in zip(("   * - ", "     - ", "     - "), cells, strict=True):
                lines.append(start + cell)
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, self.arguments[0]), 0, parent)
        return parent.children

    def _cells(self) -> list[tuple[str, str, str]]:
        return [(f"``{name}``", *rest) for name, *rest in rows(self.arguments[0])]


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
