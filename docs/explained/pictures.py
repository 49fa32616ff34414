"""Makes the pictures of these pages with the library: python docs/explained/pictures.py [FOLDER]

Nothing is drawn by hand: the search is `archgrad.search` on the digits of scikit-learn, the toys
are `toys.py` with the library's hypergradients, the collapse is the raw results of
benchmarks/collapse.py. About a minute of one CPU core; needs the extra `plot`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from toys import ending, kinked_network, smooth_network, term_errors, walk, wrong_error, wrong_line

import archgrad
from archgrad.architecture import Architecture, Cell
from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann, first_order
from archgrad.reporting.drawing import svg
from archgrad.reporting.layout import style
from archgrad.searching.result import SearchResult
from archgrad.spaces.darts_cnn import DartsCNN

HERE = Path(__file__).parent
COLLAPSE = HERE.parents[1] / "benchmarks" / "results" / "collapse"
OPERATIONS = ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
STEPS = [10 ** (-half / 2) for half in range(13)]  # of the finite differences, 1 to 1e-6
MARKERS = "osD^v"
BLACK, ORANGE, BLUE, GREEN, YELLOW, DARK, RED, PINK = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
)  # fmt: skip
SETTINGS = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "0.9", "legend.frameon": False, "lines.markersize": 4.5, "lines.linewidth": 1.4,
    "svg.hashsalt": "archgrad", "axes.titlesize": 10,
}  # fmt: skip


@contextmanager
def sheet(folder: Path, name: str, columns: int, height: float = 3.4) -> Iterator[list[Axes]]:
    """A row of axes, written when all is drawn."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, height), layout="constrained", facecolor="white")
        yield list(np.atleast_1d(figure.subplots(1, columns)))
        save(figure, folder / f"{name}.svg")


def save(figure: Figure, path: Path, larger: float = 1.0) -> None:
    """With a white ground, the same bytes every time, shown ``larger``."""
    text = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "archgrad"}):
        Figure.savefig(figure, text, format="svg", facecolor="white", metadata={"Date": None})
    size = re.compile(r'(?<= )(width|height)="([\d.]+)pt"')
    shown = size.sub(
        lambda found: f'{found[1]}="{float(found[2]) * larger:.1f}pt"', text.getvalue(), count=2
    )
    path.write_text(re.sub(r"[ \t]+\n", "\n", shown))


# --- a search of its own: the cell, the relaxation, the discretization ---------------------------


@cache
def searched() -> SearchResult:
    """Plain DARTS, first order: 2 nodes a cell, 4 operations, 400 digits, 20 epochs."""
    space = DartsCNN(
        channels=4, cells=3, nodes=2, operations=OPERATIONS, in_channels=1, image_size=(8, 8),
        classes=10,
    )  # fmt: skip
    return archgrad.search(
        space, "digits", subset=400, epochs=20, seed=0, method="darts",
        method_options={"alpha_learning_rate": 0.03},
    )  # fmt: skip


def cells(folder: Path) -> None:
    """The normal cell with all its candidates, before and after, and what is derived."""
    result = searched()
    group = result.space.groups[0]
    everything = Cell(
        name=group.name,
        inputs=group.inputs,
        nodes=tuple(
            tuple(
                (name, source)
                for row, (source, target) in enumerate(group.edges)
                if target == node
                for name in group.candidates[row]
            )
            for node in sorted({node for _, node in group.edges})
        ),
        output=tuple(sorted({node for _, node in group.edges})),
    )
    mixed = Architecture(space=result.architecture.space, cells=(everything,))
    for name, line in (("cell_start", None), ("cell_end", result.replay[-1])):
        weights = None if line is None else line["strength"][group.name]
        strength = {
            (group.name, operation, source, node): 0.25 if weights is None else weights[row][column]
            for row, (source, node) in enumerate(group.edges)
            for column, operation in enumerate(group.candidates[row])
        }
        (folder / f"{name}.svg").write_text(svg(mixed, strength))
    derived = Architecture(space=mixed.space, cells=result.architecture.cells[:1])
    (folder / "cell_derived.svg").write_text(svg(derived, result.strength))


def relaxation(folder: Path) -> None:
    """Alpha and its softmax, epoch by epoch, on two edges of the normal cell."""
    result = searched()
    group, names = result.space.groups[0], ("c_{k-2}", "c_{k-1}", "0", "1")
    epochs = [line["epoch"] for line in result.replay]
    with sheet(folder, "relaxation", 2) as axes:
        for one, row in zip(axes, (0, len(group.edges) - 1)):
            source, node = group.edges[row]
            for column, name in enumerate(group.candidates[row]):
                values = [line["strength"][group.name][row][column] for line in result.replay]
                one.plot(epochs, values, color=style(name).color, marker=MARKERS[column],
                         markevery=4, mfc="white", label=name)  # fmt: skip
            one.set(xlabel="epoch", ylabel="mixing weight", ylim=(0, None))
            one.set_title(f"normal cell, edge from ${names[source]}$ to {names[node]}")
            one.axhline(1 / len(group.candidates[row]), color="0.5", dashes=(2, 2), lw=1)
            one.locator_params(axis="x", integer=True)
        axes[0].legend(loc="lower left")


def search(folder: Path) -> None:
    """The figure of the search itself: losses, accuracies, entropy and eigenvalue, edges."""
    save(searched().plot(), folder / "search.svg", larger=1.35)


# --- the bilevel problem --------------------------------------------------------------------------

WALKS: list[tuple[str, Any, float, str, str]] = [
    ("first order (ξ = 0)", first_order, 0.0, RED, "o"),
    ("second order, ξ = 0.25", Exact(), 0.25, DARK, "s"),
    ("second order, ξ = 0.5", Exact(), 0.5, GREEN, "D"),
    ("ξ = 0.5, (p - n) / 2. * eps", wrong_line, 0.5, BLACK, "x"),
]


def bilevel(folder: Path) -> None:
    """Walks on the toy of the paper, over its validation loss, and alpha over the steps."""
    with sheet(folder, "bilevel", 2, 4.0) as (plane, course):
        a, w = np.meshgrid(np.linspace(0.4, 3.6, 80), np.linspace(-2.3, 3.2, 80))
        plane.contourf(a, w, a * w - 2 * a + 1, levels=12, cmap="Greys", alpha=0.45)
        line = np.linspace(0.4, 3.2, 2)
        plane.plot(line, line, color="0.3", dashes=(4, 3), label="w = w*(α) = α")
        for label, estimator, xi, color, marker in WALKS:
            found = walk(estimator, xi, steps=160)
            marks = {"marker": marker, "markevery": 12, "mfc": "white" if marker != "x" else color}
            plane.plot(found.alpha, found.w, color=color, lw=1.2, **marks)
            course.plot(found.alpha, color=color, label=label, lw=1.2,
                        **(marks | {"markevery": 20}))  # fmt: skip
        plane.plot([1], [1], "*", color=YELLOW, mec=BLACK, ms=15, label="the answer, (1, 1)")
        plane.set(xlabel="α", ylabel="w", title="validation loss (dark: high) and the walks")
        plane.legend(loc="lower left", frameon=True)
        plane.grid(False)
        course.axhline(1, color="0.4", dashes=(2, 2), lw=1)
        course.set(xlabel="step", ylabel="α", ylim=(0.6, 4.6), title="α over the steps")
        course.legend(loc="upper right")


def virtual_step(folder: Path) -> None:
    """Where alpha ends by xi: on paper and walked; and the loss that this costs."""
    xis = np.linspace(0, 0.75, 7)
    with sheet(folder, "virtual_step", 2) as (end, loss):
        smooth = np.linspace(0, 0.75, 200)
        end.plot(smooth, ending(smooth), color=BLUE, lw=4, label="2 / (1 + 2 ξ)", zorder=1)
        kinds: list[tuple[str, Any, str, str]] = [
            ("exact", Exact(), BLACK, "o"),
            ("finite difference", FiniteDifference(), RED, "+"),
            ("Neumann series, K = 2", Neumann(2), GREEN, "^"),
            ("(p - n) / 2. * eps", wrong_line, PINK, "x"),
        ]
        for label, estimator, color, marker in kinds:
            found = [walk(estimator, float(xi), 120, rate=0.15).alpha[-1] for xi in xis]
            end.plot(xis, found, marker, color=color, label=label, mfc="none")
            loss.plot(xis, [(alpha - 1) ** 2 for alpha in found], marker, color=color, mfc="none")
        end.set(xlabel="ξ", ylabel="α at rest", ylim=(0.7, 2.1))
        loss.set(xlabel="ξ", ylabel=r"$L_{val}(w^*(\alpha), \alpha) = (\alpha - 1)^2$")
        end.legend(loc="upper right", bbox_to_anchor=(1.0, 0.94))


def epsilon(folder: Path) -> None:
    """The error of the finite difference by its step, without and with kinks."""
    float32, float64 = torch.float32, torch.float64
    with sheet(folder, "epsilon", 1, 3.8) as (axes,):
        kinds: list[tuple[str, Any, torch.dtype, str, str]] = [
            ("smooth network, float64", smooth_network, float64, DARK, "o"),
            ("smooth network, float32", smooth_network, float32, BLUE, "s"),
            ("DARTS cells (ReLU, max-pooling), float32", kinked_network, float32, RED, "^"),
        ]
        for label, make, dtype, color, marker in kinds:
            errors = term_errors(make, dtype, STEPS)
            axes.loglog(STEPS, errors, color=color, marker=marker, mfc="white", label=label)
        wrong = [wrong_error(smooth_network, float64, step) for step in STEPS[1:]]
        axes.loglog(STEPS[1:], wrong, color=BLACK, marker="x", dashes=(3, 2),
                    label="smooth network, (p - n) / 2. * eps")  # fmt: skip
        axes.axvline(0.01, color="0.5", lw=1, dashes=(1, 2))
        axes.set_ylim(1e-10, 1e3)
        axes.text(0.012, 2e-10, "the paper's 0.01", color="0.3")
        axes.set(xlabel="step: the distance moved in weight space",
                 ylabel="relative error of the second-order term")  # fmt: skip
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


# --- collapse: raw results of benchmarks/collapse.py ---------------------------------------------


def raw(space: str, method: str) -> list[dict[str, Any]]:
    """The committed searches, one a seed."""
    paths = sorted(COLLAPSE.glob(f"{space}-{method}-[0-9].json"))
    return [json.loads(path.read_text()) for path in paths]


def collapse(folder: Path) -> None:
    """Skips, parameter-free operations, and the eigenvalue with the guard, on NAS-Bench-201."""
    with sheet(folder, "collapse", 3) as axes:
        for run, color, marker in zip(raw("nas-bench-201", "darts"), (BLACK, DARK, RED), MARKERS):
            lines = run["epochs"]
            for one, key in zip(axes, ("skip_share", "parameter_free_share", "eigenvalue")):
                points = [(line["epoch"], line[key]) for line in lines if key in line]
                one.plot(*zip(*points), color=color, marker=marker, mfc="white",
                         label=f"seed {run['seed']}")  # fmt: skip
                for epoch, kind in run["guard"]:
                    if kind == key:
                        value = dict(points)[epoch]
                        one.plot([epoch], [value], "*", color=ORANGE, mec=BLACK, ms=14, zorder=5)
        for one, title in zip(axes, ("skip connections", "parameter-free", "dominant eigenvalue")):
            one.set(xlabel="epoch", ylim=(0, None), title=title)
        axes[0].set(ylabel="share of the derived cell", ylim=(0, 1.05))
        axes[1].set(ylim=(0, 1.05))
        axes[0].plot([], [], "*", color=ORANGE, mec=BLACK, ms=10, ls="", label="the guard warns")
        axes[0].legend(loc="upper left")


PICTURES: list[Callable[[Path], None]] = [
    cells, relaxation, search, bilevel, virtual_step, epsilon, collapse
]  # fmt: skip


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for picture in PICTURES:
        picture(folder)
        print(picture.__name__, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pictures")
