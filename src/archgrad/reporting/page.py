"""One HTML file that needs nothing else: the document, compressed, and the code that draws it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from archgrad.errors import ArchgradError
from archgrad.reporting.document import document
from archgrad.storage.files import REPORT, write

LIBRARIES = ("d3", "plot", "dagre")
SCRIPTS = (
    "data", "elements", "states", "overview", "graph", "cells", "choices", "replay", "heatmap",
    "course", "plotting", "lines", "marks", "zoom", "charts", "retraining", "costs", "runs",
    "chosen", "comparison", "reproduce", "watch", "main",
)  # fmt: skip
MARK = b'<script type="text/plain" id="document">'  # is in every page


def report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write one HTML page about runs and comparisons, which works offline; returns its path.

    `runs`: a folder that run, search, train or compare wrote, finished or not, or several, to
    see side by side, one that is given twice once; `out`: the file (default: report.html in the
    folder; of several in the current folder). What is missing or damaged in a folder is said on the
    page. Raises `ArchgradError` where there is no such folder, and for an `out` that is not a
    page of this library.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1, "subset": 40, "batch_size": 10}
    >>> result = archgrad.search(data="digits", epochs=1, guard="off", out="runs/first", **size)
    >>> archgrad.report(["runs/first"], out="page.html").stat().st_size > 10_000
    True
    """
    return written(runs, out)[0]


def written(
    runs: str | Path | Sequence[str | Path], out: str | Path | None = None
) -> tuple[Path, list[str]]:
    """`report`; and what is missing or damaged, a sentence each."""
    folders = existing(runs)
    path = Path(out) if out is not None else (folders[0] if len(folders) == 1 else Path()) / REPORT
    _refuse_other(path)
    made = document(folders)
    try:
        write(path, page(made))
    except OSError as error:
        raise ArchgradError(
            f"{path} cannot be written ({error.strerror or error}); give another place with --out"
        ) from None
    shown = [*made["comparisons"], *made["runs"]]
    names = [f"{one['name']}: " for one in shown] if len(shown) > 1 else [""] * len(shown)
    return path, [f"{n}{problem}" for n, one in zip(names, shown) for problem in one["problems"]]


def existing(runs: str | Path | Sequence[str | Path]) -> list[Path]:
    """The folders, each once; `ArchgradError` where there is none of that name."""
    try:
        given = [Path(runs)] if isinstance(runs, str | Path) else list(map(Path, runs))
    except TypeError:
        raise ArchgradError(
            f"found a {type(runs).__name__}, expected the folder of a run or several; of the "
            "result of a search it is result.path"
        ) from None
    folders = list({folder.resolve(): folder for folder in given}.values())
    if not folders:
        raise ArchgradError("found no folder; give one or several that run, search or train wrote")
    for folder in folders:
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise ArchgradError(
                f"found {found} at {folder}, expected the folder of a run; give one that archgrad "
                "run, search, train or compare wrote"
            )
    return folders


def _refuse_other(path: Path) -> None:
    """Only a page of this library is replaced."""
    if path.is_dir():
        raise ArchgradError(
            f"found a folder at {path}, expected a file; give --out {path / REPORT}"
        )
    if path.exists() and not _replaceable(path):
        raise ArchgradError(
            f"{path} exists and is no report of archgrad, so it is not replaced; give another --out"
        )


def _replaceable(path: Path) -> bool:
    """An empty file is what a full disk leaves of a page that is copied."""
    size = path.stat().st_size
    return path.is_file() and (size == 0 or (size <= 2**28 and MARK in path.read_bytes()))


def page(document: Mapping[str, Any]) -> str:
    """The page of a document; its code is named by hash, and nothing else may run or be loaded."""
    code = _code()
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{digest}'" for digest in code.values()),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'self'" if document["live"] else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    text = json.dumps(document, allow_nan=False).encode()
    parts = {
        "policy": html.escape("; ".join(f"{k} {v}" for k, v in policy.items())),
        "title": html.escape(document["title"]),
        "style": _asset("assets/page.css") + _asset("assets/charts.css"),
        "data": base64.b64encode(gzip.compress(text, mtime=0)).decode(),
        "scripts": "\n".join(f"<script>{text}</script>" for text in code),
    }
    made = _asset("assets/page.html")
    for name, part in parts.items():
        made = made.replace(f"<!--{name}-->", part)
    return made


@cache
def _code() -> dict[str, str]:
    """What draws a page, script by script, and the digest of each."""
    code = [_asset(f"vendor/{name}.min.js") for name in LIBRARIES]
    own = "\n".join(_asset(f"assets/{name}.js") for name in SCRIPTS)
    code.append(f'(() => {{\n"use strict";\n{own}\n}})();')
    return {text: _digest(text) for text in code}


@cache
def _asset(name: str) -> str:
    return resources.files("archgrad.reporting").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
