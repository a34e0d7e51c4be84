"""Sphinx builds the documents of this folder: ``pip install -e ".[docs]"``, ``make docs``."""

project = "dreamzoo"
author = "dreamzoo contributors"
copyright = author

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "dreamzoo"
