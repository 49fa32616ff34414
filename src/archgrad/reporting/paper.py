"""How figures look on paper, whatever matplotlib is set to; nothing of its state is changed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

from matplotlib import rcParams, style
from matplotlib.figure import Figure

from archgrad.reporting.figures import SIZE, SMALL

PIXELS = 200  # an inch, of the picture in a notebook
SETTINGS: dict[str, Any] = {
    "font.size": SIZE, "axes.labelsize": SIZE, "legend.fontsize": SMALL, "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL, "axes.linewidth": 0.6, "lines.linewidth": 1.0,
    "lines.markersize": 3.0, "lines.dash_capstyle": "round", "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.6,
    "svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42,
}  # fmt: skip


def settings() -> AbstractContextManager[None]:
    """Matplotlib's defaults with what a paper needs, and the fonts that are set."""
    fonts = {
        "font.family": rcParams["font.family"],
        "font.serif": rcParams["font.serif"],
        "font.sans-serif": rcParams["font.sans-serif"],
        "mathtext.fontset": rcParams["mathtext.fontset"],
    }
    return style.context(["default", {**SETTINGS, **fonts}])


class PaperFigure(Figure):
    """A figure that no window holds, which saves text as text and shows itself in a notebook."""

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """As of any figure; in PDF, SVG and PS text stays text."""
        with settings():
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=PIXELS)
        return file.getvalue()
