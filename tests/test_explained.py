"""The numbers behind the pictures of docs/explained, and the pictures that cost little."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann, first_order

EXPLAINED = Path(__file__).parents[1] / "docs" / "explained"
PAGES = sorted(EXPLAINED.glob("*.md"))


@pytest.fixture(scope="module")
def toys() -> Iterator[Any]:
    sys.path.insert(0, str(EXPLAINED))
    try:
        import toys

        yield toys
    finally:
        sys.path.remove(str(EXPLAINED))


@pytest.mark.parametrize("xi", [0.25, 0.5])
def test_the_second_order_ends_where_paper_and_pencil_say(toys: Any, xi: float) -> None:
    for estimator in (Exact(), FiniteDifference()):
        found = toys.walk(estimator, xi, 40, rate=0.3)
        assert found.alpha[-1] == pytest.approx(2 / (1 + 2 * xi), abs=1e-3)
        assert found.w[-1] == pytest.approx(found.alpha[-1], abs=1e-3)


def test_the_first_order_ends_at_2_and_many_terms_at_the_answer(toys: Any) -> None:
    assert toys.walk(first_order, 0.0).alpha[-1] == pytest.approx(2.0, abs=1e-3)
    rest = 2 / (2 - (1 - 2 * 0.25) ** 3)
    found = toys.walk(Neumann(2), 0.25, 40, rate=0.3).alpha[-1]
    assert found == pytest.approx(rest, abs=1e-3)


def test_the_wrong_line_is_off_by_epsilon_squared(toys: Any) -> None:
    """Its second term is the right one times eps^2, so alpha ends as with xi eps^2: at 2."""
    toy, step = toys.Toy(), 0.1
    state = toy.state(0.5)
    direct = toys.direct_term(toy.alpha, state)["a"]
    right = FiniteDifference(step)(toy.alpha, state)
    wrong = toys.wrong_line(toy.alpha, state, step).gradient["a"]
    eps = step / 2.0  # d L_val / d w' = alpha = 2
    torch.testing.assert_close(wrong - direct, eps**2 * (right.gradient["a"] - direct))
    assert float((right.gradient["a"] - direct).squeeze()) == pytest.approx(2.0)  # 2 xi alpha
    found = toys.walk(toys.wrong_line, 0.5, 60).alpha[-1]
    assert found == pytest.approx(toys.ending(0.5, (0.01 / 2) ** 2), abs=1e-3)


def test_on_a_smooth_network_the_error_falls_with_the_square_of_the_step(toys: Any) -> None:
    steps = [1e-1, 1e-2, 1e-3]
    errors = toys.term_errors(toys.smooth_network, torch.float64, steps, turns=1)
    for larger, smaller in pairwise(errors):
        assert larger / smaller == pytest.approx(100, rel=0.15)
    rounded = toys.term_errors(toys.smooth_network, torch.float32, [1e-2, 1e-5], turns=1)
    assert rounded[1] > 10 * rounded[0]  # rounding takes over
    wrong = toys.wrong_error(toys.smooth_network, torch.float64, 1e-2)
    assert wrong == pytest.approx(1.0, abs=0.02)  # nothing is left of the term


def test_with_kinks_a_smaller_step_is_worse(toys: Any) -> None:
    errors = toys.term_errors(toys.kinked_network, torch.float32, [1e-1, 1e-2, 1e-4], turns=1)
    assert errors[0] > 0.2
    assert errors[2] > 3 * errors[1] > 3 * errors[0]


def test_pictures_that_cost_little_are_made(toys: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import pictures

    assert [picture.__name__ for picture in pictures.PICTURES][-1] == "collapse"
    pictures.collapse(tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    pictures.collapse(again)
    assert (tmp_path / "collapse.svg").read_bytes() == (again / "collapse.svg").read_bytes()
    runs = pictures.raw("nas-bench-201", "darts")
    assert [run["seed"] for run in runs] == [0, 1, 2]
    # what docs/explained/collapse.md says of them
    skips = [[line["skips"]["cell"] for line in run["epochs"]] for run in runs]
    assert [max(seed) for seed in skips] == [3, 1, 4]
    growth = [
        [line["eigenvalue"] for line in run["epochs"] if "eigenvalue" in line] for run in runs
    ]
    assert [round(seed[-1] / seed[0], 1) for seed in growth] == [1.5, 11.2, 5.0]


@pytest.mark.slow  # a search of a quarter of a minute
@pytest.mark.no_cover
def test_the_search_of_the_pages_is_as_they_say(toys: Any, tmp_path: Path) -> None:
    """Not to the digit: other machines round otherwise."""
    pytest.importorskip("matplotlib")
    import pictures

    pictures.cells(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    result = pictures.searched()
    last = result.metrics[-1]
    assert last["valid_accuracy"] > 0.6 > 0.55 > last["discrete_accuracy"]
    assert last["eigenvalue"] > 1.5 * result.metrics[0]["eigenvalue"]
    assert last["entropy"] < 1.25 < result.metrics[0]["entropy"]
    kinds = {kind for line in result.metrics for kind in line.get("warning_kinds", ())}
    assert "parameter_free_share" in kinds
    assert result.architecture.cells[1].operations.count("max_pool_3x3") >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_of_a_page_is_there_with_words_for_it(page: Path) -> None:
    for words, path in re.findall(r"!\[(.*?)\]\((\S+?)\)", page.read_text(), re.DOTALL):
        assert len(words) > 40
        root = ElementTree.parse(EXPLAINED / path).getroot()
        assert root.tag.endswith("svg")
        ground = (EXPLAINED / path).read_text()
        assert "fill: #ffffff" in ground or 'fill="white"' in ground  # readable in the dark too


def test_every_picture_is_shown() -> None:
    text = "".join(page.read_text() for page in PAGES)
    unused = [
        p.name for p in (EXPLAINED / "pictures").iterdir() if f"pictures/{p.name})" not in text
    ]
    assert not unused
