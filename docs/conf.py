"""
The site, made by Sphinx: `nox -s docs`, or `sphinx-build -E -W docs FOLDER`.

Pages are Markdown that reads well in a repository, too. Lists of names, commands and codes are
generated: see `generated.py`.
"""

import pathlib
import re
import sys

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

import generated  # noqa: E402 - found by the line above.

import chatmark  # noqa: E402 - as above.

project = "chatmark"
author = "The chatmark developers"
project_copyright = author
version = release = chatmark.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"chatmark {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
# Commands are copied without their comments' prompts; output is not copied.
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"

myst_heading_anchors = 3
myst_links_external_new_tab = False

# Single backticks of docstrings are names where there is such a name, else code.
default_role = "py:obj"
add_module_names = False
autodoc_typehints_format = "short"
# It is very large, and its names are not shown.
autodoc_mock_imports = ["ray"]
smartquotes = False
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_use_ivar = True

# Files beside the folder that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples": "examples.md",
}
_MARKER = re.compile(r"<!-- (?P<kind>generated|included): (?P<name>[^ ]+) -->")
_LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<path>[\w./-]+)(?P<anchor>#[\w-]*)?\)")


def _links(text: str, folder: pathlib.Path) -> str:
    """Let the links of a text that stands in *folder* lead to pages of the site."""

    def to_page(link: re.Match[str]) -> str:
        path = (folder / link["path"]).resolve()
        inside = path.relative_to(ROOT).as_posix()
        if inside in PAGES:
            path = DOCS / PAGES[inside]
        if path.is_relative_to(DOCS):
            inside = path.relative_to(DOCS).as_posix()
            return f"[{link['text']}](/{inside}{link['anchor'] or ''})"
        # Another file of the repository: the site offers it for download, but for Markdown.
        return link["text"] if path.suffix == ".md" else f"[{link['text']}](/../{inside})"

    return _LINK.sub(to_page, text)


def _expand(text: str, folder: pathlib.Path) -> str:
    def insert(marker: re.Match[str]) -> str:
        if marker["kind"] == "generated":
            name, _, argument = marker["name"].partition(":")
            with mock(autodoc_mock_imports):
                made: str = getattr(generated, name)(*filter(None, [argument]))
            return made
        path = ROOT / marker["name"]
        return _links(path.read_text("utf-8"), path.parent)

    return _MARKER.sub(insert, _links(text, folder))


def _read(app: Sphinx, name: str, content: list[str]) -> None:
    content[0] = _expand(content[0], (DOCS / name).parent)


def _quote_code(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Mark the indented programs of a module's docstring as such."""
    if what != "module":
        return
    for number in reversed(range(1, len(lines))):
        is_first = lines[number].startswith("    ") and not lines[number - 1].strip()
        if is_first and not any(line.startswith("    ") for line in lines[number - 2 : number - 1]):
            lines[number:number] = ["::", ""]


def _show_defaults(
    app: Sphinx,
    what: str,
    name: str,
    value: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Show defaults that are not literals, such as `<built-in function time>`, as "..."."""
    return re.sub(r"= (?:<[^<>]*>|NOTHING)", "= ...", signature or "") or signature, returns


def _set_dashes(app: Sphinx, tree: nodes.document) -> None:
    """Set a dash between an argument and its meaning, where Sphinx writes two hyphens."""
    for text in list(tree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> None:
    """Let Sphinx read pages with their generated parts."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _quote_code)
    app.connect("autodoc-process-signature", _show_defaults)
    app.connect("doctree-read", _set_dashes)
    app.add_lexer("csv", TextLexer)
