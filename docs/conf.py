"""The configuration of Sphinx. `make docs` builds the site; docs/_ext has what is special about it."""

import hashlib
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_ext")]

import outline
import reference
import staging
from sphinx.errors import ConfigError

import equikit
from equikit.cli import app as command

project = "equikit"
author = "The equikit authors"
copyright = author
version = release = equikit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "docstrings",
    "links",
    "mathml",
    "drawn",
]
exclude_patterns = ["_build", "_ext", *staging.RAW]
nitpicky = True

# Markdown and notebooks. The lessons are committed with their outputs.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
smartquotes = False  # they change the options of commands

# Docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
add_function_parentheses = False
toc_object_entries_show_parents = "hide"

# Pages.
html_theme = "furo"
html_title = f"equikit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_extra_path = [name for name in staging.RAW if (staging.DOCS / name).exists()]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "source_repository": f"{staging.repository()}/",
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": [],
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def generate(app: Any) -> None:
    """Copy pages of the repository, and write the reference."""
    try:
        for folder in outline.FOLDERS:
            staging.listing(folder)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    texts = {f"{name}.rst": text for name, text in reference.pages().items()}
    texts["reference/command_line.rst"] = reference.command_page(command)
    texts["tutorials/index.md"] = staging.tutorials()
    staging.stage(texts)


def read(app: Any, name: str, source: list[str]) -> None:
    """Rewrite the links of a page in Markdown or of a notebook, and insert lists of pages and a download."""
    if app.env.doc2path(name).suffix == ".ipynb":
        source[0] = staging.lesson(source[0], name)
    if app.env.doc2path(name).suffix == ".md":
        source[0] = staging.rewritten(staging.completed(source[0], name), name)


def outdated(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Read pages with lists of other pages again: they change without a change of their own file."""
    return [name for name in (*outline.FOLDERS, *outline.BENCHMARKS) if name in env.found_docs]


def setup(app: Any) -> None:
    """Connect what happens before and while pages are read."""
    code = b"".join(path.read_bytes() for path in sorted((staging.DOCS / "_ext").glob("*.py")))
    app.add_config_value("site_code", hashlib.sha256(code).hexdigest(), "env")  # read all pages again if it changes
    app.connect("builder-inited", generate)
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", read)
