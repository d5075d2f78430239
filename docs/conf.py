"""How the documentation is built: Sphinx reads Markdown (MyST); nothing is fetched from anywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

_project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _project["name"]
author = _project["authors"][0]["name"]
copyright = author  # Sphinx's name for it
release = version = _project["version"]

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
# A reference that leads nowhere is a warning, and the `docs` environment takes warnings for errors.
nitpicky = True

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_copy_source = False
