"""Sphinx builds the documents of this folder: ``make docs``."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "dreamzoo"
author = "dreamzoo contributors"
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "references",
    "settings",
]
exclude_patterns = ["extensions"]
# Every role of a docstring names something that exists, see extensions/references.py.
nitpicky = True
html_theme = "furo"
html_title = "dreamzoo"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Members stand in the order of the code, with the types of their arguments beside these.
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
# What methods of SB3, torch and Gymnasium do is described there.
autodoc_inherit_docstrings = False

# A tutorial runs again when its code has changed; an error in one ends the build. ``make test``
# builds the site without running them; there the tests run their code with tiny agents.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parents[1] / "build" / "tutorials")
nb_execution_raise_on_error = True
nb_execution_timeout = 3_600  # of a cell: minutes become many on a machine that does much else


def setup(app: Sphinx) -> None:
    """Leave out what only the package itself looks at."""
    internal = {"policy_base", "policy_aliases", "action_spaces", "apart", "online_queue"}
    app.connect("autodoc-skip-member", lambda app, what, name, *_: name in internal or None)
