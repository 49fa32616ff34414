"""The site: `make docs` builds it from these pages and from the docstrings, without network."""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from types import FunctionType
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from repository_files import setup_files, source_link  # noqa: E402

import archgrad  # noqa: E402

project = "archgrad"
author = "the authors of archgrad"
project_copyright = author
release = version = archgrad.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "code"  # single backticks in docstrings
smartquotes = False  # a quoted name can be copied
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types in signatures, most of other packages

myst_heading_anchors = 4  # as GitHub makes them
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_dmath_double_inline = True

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

linkcode_resolve = source_link

html_theme = "furo"
html_title = f"archgrad {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
copybutton_exclude = ".linenos, .gp, .go"
html_math_renderer = "mathml"


def _skip(app: Sphinx, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Members that are none: of named tuples, pydantic, scikit-learn; functions as defaults."""
    made = type(found).__name__ == "_tuplegetter" or name == "model_config"
    made |= name.startswith("set_") and name.endswith("_request")
    default = isinstance(found, FunctionType) and found.__name__ not in (name, "<lambda>")
    return True if made or (what == "class" and default) else None


def _plain(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: stars and bars stand for themselves."""
    block = 0  # the indentation of a block that is taken as it is stands beyond this
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip()) + 1
        if not line or 0 < block < indent or re.match(r"\s*(>>>|\.\.\. )", line):
            continue
        directive = line.lstrip().startswith(".. ")
        block = indent if directive or line.endswith("::") else 0
        if directive:
            continue
        pieces = re.split(r"(`+[^`]*`+)", line)
        pieces[::2] = [re.sub(r"(?<!^)[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", p) for p in pieces[::2]]
        lines[number] = re.sub(r"\bdocs/([\w/]+)\.md\b", _page, "".join(pieces))


def _page(found: re.Match[str]) -> str:
    """A link to the page that a docstring names."""
    known = (HERE / f"{found[1]}.md").is_file()
    return f":doc:`{found[0]} </{found[1]}>`" if known else found[0]


def _signature(
    app: Sphinx, what: str, name: str, found: Any, options: Any, args: str, returned: str
) -> tuple[str, str] | None:
    """Nobody makes an instance of a protocol; a function that is a default goes by its name."""
    if getattr(found, "_is_protocol", False):
        return "", returned
    return (re.sub(r"<function (\w+)>", r"\1", args), returned) if args else None


def _inline_math(self: Any, node: nodes.math) -> None:
    self.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block_math(self: Any, node: nodes.math_block) -> None:
    number = re.search(r"\\tag\{([^}]*)\}", node.astext())
    self.body.append(f'<div class="math">{_mathml(node, as_block=True)}')
    self.body.append(f"<span>({escape(number[1])})</span></div>\n" if number else "</div>\n")
    raise nodes.SkipNode


def _mathml(node: nodes.Element, as_block: bool) -> str:
    """Formulas as MathML, which browsers show without a script from elsewhere."""
    formula = re.sub(r"\\tag\{[^}]*\}", "", node.astext())
    try:
        return str(tex2mathml(formula, as_block=as_block))
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", error, formula, location=node)
        return escape(formula)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("autodoc-process-signature", _signature)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    setup_files(app)
