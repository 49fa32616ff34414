"""Links from pages to files of the repository that are no pages, so that they work in the site too.

Pages link relatively, as GitHub needs it: `[text](../src/archgrad/searching/bilevel.py)`. Here such
a link leads to a page of the site that shows the file, or lists the folder. Markdown that the site
has as a page of its own is linked there. What is large, or no text, is copied and offered as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from pydoc import locate
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = {"README.md": "index", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
LANGUAGES = {
    ".py": "python", ".sh": "bash", ".cpp": "cpp", ".h": "cpp", ".toml": "toml", ".yaml": "yaml",
    ".json": "json", ".md": "markdown", "": "makefile", ".txt": "text", ".csv": "text",
}  # fmt: skip
LARGEST = 100_000  # bytes that are shown in a page


class RepositoryLinks(SphinxTransform):
    """Gives links that leave docs/ a target in the site, and notes which files it must show."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        shown: set[str] = set()
        here = (DOCS / self.env.docname).parent
        for node in [*self.document.findall(_is_link)]:
            target, _, anchor = unquote(node["reftarget"]).partition("#")
            if node.get("refdomain") == "doc":  # Markdown, by its path without the ending
                target, anchor = f"/{target}.md", node.get("reftargetid") or ""
            path = (here / target).resolve()
            if not target or path.is_relative_to(DOCS) or not path.is_relative_to(ROOT):
                continue
            name = path.relative_to(ROOT).as_posix()
            if name in PAGES:
                docname = PAGES[name]
            elif path.is_dir() or _shown(path):
                docname = f"files/{name}"
                shown.add(name)
            else:
                continue  # copied, or warned of
            link = self.app.builder.get_relative_uri(self.env.docname, docname)
            link += f"#{anchor}" if anchor else ""
            node.replace_self(nodes.reference("", "", *node.children, refuri=link, internal=True))
        self.env.metadata[self.env.docname]["repository_files"] = sorted(shown)


def _is_link(node: nodes.Node) -> bool:
    kind = isinstance(node, addnodes.download_reference | addnodes.pending_xref)
    return kind and "reftarget" in node and node.get("reftype", "myst") in ("myst", "doc")


def _shown(path: Path) -> bool:
    return path.is_file() and path.suffix in LANGUAGES and path.stat().st_size <= LARGEST


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every file that a page links, and those in every folder that a page links."""
    linked = {n for about in app.env.metadata.values() for n in about.get("repository_files", ())}
    folders = sorted(name for name in linked if (ROOT / name).is_dir())
    within = {name: _listed(ROOT / name) for name in folders}
    for name in sorted(linked.union(*within.values()) - {*folders}):
        text = (ROOT / name).read_text(encoding="utf-8")
        language = LANGUAGES[Path(name).suffix]
        yield _page(name, app.builder.highlighter.highlight_block(text, language, linespans="L"))  # type: ignore[attr-defined]
    for name in folders:
        uri = app.builder.get_relative_uri
        items = "".join(
            f'<li><a href="{uri(f"files/{name}", f"files/{file}")}">'
            f"<code>{escape(file.removeprefix(f'{name}/'))}</code></a></li>"
            for file in within[name]
        )
        yield _page(name, f"<ul>{items}</ul>")


def _listed(folder: Path) -> list[str]:
    found = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [path.relative_to(ROOT).as_posix() for path in found if _shown(path)]


def _page(name: str, body: str) -> tuple[str, dict[str, Any], str]:
    title = escape(name)
    return f"files/{name}", {"title": title, "body": f"<h1>{title}</h1>\n{body}"}, "page.html"


def source_link(domain: str, info: Mapping[str, str]) -> str | None:
    """For sphinx.ext.linkcode: the page of the file that defines an object, at its line."""
    found = locate(f"{info['module']}.{info['fullname']}")
    while isinstance(found, property | cached_property):
        found = found.fget if isinstance(found, property) else found.func
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(found)) or "").resolve()  # type: ignore[arg-type]
        line = inspect.getsourcelines(found)[1]  # type: ignore[arg-type]
    except (TypeError, OSError):  # a value, such as a table
        return None
    if not path.is_relative_to(ROOT):
        return None
    name = path.relative_to(ROOT).as_posix()
    env = _running[0].env
    shown = env.metadata[env.docname].setdefault("repository_files", [])
    shown += [name] if name not in shown else []
    return f"{_running[0].builder.get_relative_uri(env.docname, f'files/{name}')}#L-{line}"


_running: list[Sphinx] = []  # linkcode hands over no application


def _without_navigation(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object
) -> None:
    """Files show no tree of all pages, which is a third of the work of the site."""
    if page.startswith("files/"):
        context["toctree"] = lambda **_: ""


def setup_files(app: Sphinx) -> None:
    _running[:] = [app]
    app.add_transform(RepositoryLinks)
    app.connect("html-collect-pages", _pages)
    app.connect("html-page-context", _without_navigation, priority=100)  # before the theme's
