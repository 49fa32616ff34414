"""One HTML file that needs nothing else: the document, compressed, and the code that draws it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

LIBRARIES = ("d3", "plot", "dagre")
SCRIPTS = (
    "data", "elements", "overview", "graph", "cells", "choices", "replay", "heatmap", "course",
    "plotting", "lines", "marks", "zoom", "charts", "retraining", "costs", "runs", "chosen",
    "comparison", "reproduce", "watch", "main",
)  # fmt: skip


def page(document: Mapping[str, Any]) -> str:
    """The page of a document; its code is named by hash, and nothing else may run or be loaded."""
    code = [_asset(f"vendor/{name}.min.js") for name in LIBRARIES]
    own = "\n".join(_asset(f"assets/{name}.js") for name in SCRIPTS)
    code.append(f'(() => {{\n"use strict";\n{own}\n}})();')
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{_digest(text)}'" for text in code),
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


def _asset(name: str) -> str:
    return resources.files("archgrad.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
