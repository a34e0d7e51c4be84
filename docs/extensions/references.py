"""References of docstrings: short names find what they mean, names of nothing are reported."""

import importlib
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def exists(target: str) -> bool:
    """
    Say whether a name is one of Python, in full or as a module of dreamzoo knows it.

    :param target: name with dots
    """
    first, *rest = target.split(".")
    found = [vars(module) for name, module in list(sys.modules.items()) if _is_ours(name)]
    if any(_has(scope[first], rest) for scope in found if first in scope):
        return True
    for cut in range(len(rest) + 1, 0, -1):
        parts = target.split(".")
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        return _has(module, parts[cut:])
    return any(_has(thing, [first, *rest]) for scope in found for thing in scope.values())


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in ("dreamzoo", "gymnasium")  # whose wrappers are among ours


def _has(thing: Any, names: list[str]) -> bool:
    for name in names:
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Node | None:
    """
    Link a short name if it means one thing alone, else show what exists without a link.

    Types of arguments are shown as they are: most are torch's, Gymnasium's or SB3's.

    :param app: of the build
    :param env: knows what is described where
    :param node: the reference
    :param shown: its text
    :return: None if the name is that of nothing, which Sphinx then reports
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    objects = env.domains["py"].data["objects"]
    means = [name for name in objects if name == target or name.endswith(f".{target}")]
    if len({objects[name].node_id for name in means}) == 1:
        at = objects[means[0]]
        return make_refnode(app.builder, node["refdoc"], at.docname, at.node_id, shown, means[0])
    is_role = isinstance(shown, nodes.literal)
    return shown if not is_role or exists(target) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at references that Sphinx does not resolve."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
