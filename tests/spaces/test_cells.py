"""Candidates of every edge: given, restricted, left out, and every wrong way to do so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.operations import OPERATIONS
from archgrad.spaces.cells import CellSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import NasBench201
from archgrad.spaces.robust import s1, s3

DARTS = DartsCNN(channels=2, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=3)
NB201 = NasBench201(channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=3)
SPACES: dict[str, CellSpace] = {"darts-cnn": DARTS, "nas-bench-201": NB201}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)

SKIP, SEP, MAX = "skip_connect", "sep_conv_3x3", "max_pool_3x3"


def offered(space: CellSpace) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {group.name: group.candidates for group in space.groups}


@given(st.data())
@every_space
def test_a_restricted_space_offers_what_it_was_given(space: CellSpace, data: st.DataObject) -> None:
    wanted = {}
    for group in space.groups:
        size = data.draw(st.integers(2, group.shape[1]))
        row = st.permutations(group.candidates[0]).map(lambda names, n=size: tuple(names[:n]))
        wanted[group.name] = tuple(data.draw(row) for _ in group.edges)
    found = space.restricted(wanted)
    assert offered(found) == wanted
    assert found == replace(space, candidates=tuple(wanted.values()))
    choices = [m for m in found.supernet().modules() if isinstance(m, Choice)]
    assert len(choices) == 3 * len(space.groups[0].edges)
    assert all(choice.names == wanted[choice.group][choice.row] for choice in choices)
    assert found.sized(channels=4).candidates == found.candidates


def test_a_group_that_is_not_named_keeps_all() -> None:
    found = DARTS.restricted({"reduce": [[SKIP], [SEP]]})
    assert offered(found) == {"normal": (tuple(OPERATIONS),) * 2, "reduce": ((SKIP,), (SEP,))}


def test_a_restricted_space_can_be_restricted_again_but_not_widened() -> None:
    found = DARTS.restricted({"normal": [[SKIP, SEP], [SEP, MAX]]})
    assert offered(found.restricted({"normal": [[SEP], [SEP]]}))["normal"] == ((SEP,), (SEP,))
    with pytest.raises(
        ArchgradError,
        match=f"group normal: edge 1 to 2 cannot be restricted to {SKIP}; it offers {SEP}, {MAX}",
    ):
        found.restricted({"normal": [[SKIP], [SKIP]]})


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"nomal": [[SKIP]] * 2}, 'group of space darts-cnn "nomal" .* did you mean "normal"'),
        ({"normal": [[SKIP]] * 3}, "group normal: found candidates for 3 edges, expected 2"),
        ({"normal": [[SKIP], [SKIP, SEP]]}, "edges offer 1 to 2 operations; expected the same"),
        ({"normal": [[SKIP], ["none"]]}, r"edge 1 to 2 offers \['none'\]; .* of them not none"),
        ({"normal": [[SKIP], []]}, r"edge 1 to 2 offers \[\]; expected different operations"),
        ({"normal": [[SKIP] * 2] * 2}, r"edge 0 to 2 offers .*; expected different operations"),
        (
            {"normal": [["skip_conect"]] * 2},
            'of space darts-cnn "skip_conect" is not known; did you',
        ),
    ],
)
def test_wrong_restrictions_are_named(candidates: Any, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        DARTS.restricted(candidates)


def test_candidates_are_given_for_every_group() -> None:
    with pytest.raises(
        ArchgradError, match="candidates for 1 groups, expected one entry for each of normal, red"
    ):
        replace(DARTS, candidates=(((SKIP,), (SEP,)),))
    with pytest.raises(ArchgradError, match="for 0 groups"):
        replace(NB201, candidates=())


@every_space
def test_operations_are_dropped_from_every_edge(space: CellSpace) -> None:
    found = space.without(["none", "avg_pool_3x3", "of another space"])
    for old, new in zip(space.groups, found.groups):
        left = tuple(n for n in old.candidates[0] if n not in ("none", "avg_pool_3x3"))
        assert new.candidates == (left,) * len(old.edges)
        assert new.shape[1] == old.shape[1] - 2
    assert offered(space.without([])) == offered(space)


def test_s3_without_none_offers_what_s2_does() -> None:
    assert set(offered(s3().without({"none"}))["normal"]) == {(SKIP, SEP)}


@every_space
def test_dropping_everything_is_refused(space: CellSpace) -> None:
    with pytest.raises(ArchgradError, match=r"edge 0 to \d offers \[\]; expected .* at least one"):
        space.without(space.groups[0].candidates[0])


def test_none_alone_is_left_only_where_a_derived_edge_may_be_none() -> None:
    names = NB201.groups[0].candidates[0]
    assert NB201.without(set(names) - {"none"}).groups[0].shape == (6, 1)
    with pytest.raises(ArchgradError, match=r"offers \['none'\]; expected .* of them not none"):
        DARTS.without(set(OPERATIONS) - {"none"})


def test_edges_that_lose_different_numbers_are_refused() -> None:
    with pytest.raises(ArchgradError, match="edges offer 1 to 2 operations"):
        s1().without([SEP])


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (("none", "sep_conv_9x9"), 'operation of space darts-cnn "sep_conv_9x9" is not known'),
        (("none",), "at least one of them not none"),
        ((), "at least one of them not none"),
        (("skip_connect", "skip_connect"), "expected different"),
    ],
)
def test_operations_that_cannot_be_searched_are_refused(
    operations: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        DartsCNN(operations=operations)
