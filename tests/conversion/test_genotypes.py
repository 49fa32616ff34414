"""Genotype texts: the published cells, every notation, round trips, and what is refused why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archgrad
from archgrad.architecture import Architecture, Cell, published
from archgrad.conversion import convert, written
from archgrad.errors import ArchgradError
from archgrad.networks.operations import OPERATIONS
from archgrad.spaces import space
from other_tools import PUBLISHED, RECURRENT, cells, genotype, nodes

EVERY = [*PUBLISHED, *RECURRENT]
OPERATION = st.sampled_from([name for name in OPERATIONS if name != "none"])


def refused(text: str, **options: Any) -> str:
    with pytest.raises(ArchgradError) as error:
        _ = convert(text, **options).architecture
    return str(error.value)


@pytest.mark.parametrize("name", EVERY)
def test_the_published_cells_are_read(name: str) -> None:
    assert archgrad.convert(genotype(name)).architecture == published(name)


@pytest.mark.parametrize("name", EVERY)
def test_the_published_cells_are_written_and_read_again(name: str) -> None:
    text = written(published(name), "genotype")
    assert convert(text).architecture == published(name)
    if not name.startswith("FAIR"):
        assert text == genotype(name), "as DARTS prints it, to the letter"


def test_every_notation_gives_the_same_cell() -> None:
    text, v2 = genotype("DARTS_V2"), published("DARTS_V2")
    normal, reduce = map(nodes, PUBLISHED["DARTS_V2"])
    weighted = [[(o, s, 0.125) for o, s in node] for node in normal]
    numpy = str(weighted).replace("0.125", "np.float32(0.125)")
    grouped = f"(normal={tuple(map(tuple, normal))}, normal_concat=[2, 3, 4, 5], reduce={reduce}, "
    rest = "reduce_concat=(2, 3, 4, 5)"
    spaced = (
        text.replace(", ", ",\n    ").replace("(normal", "(  # found\n  normal").replace("'", '"')
    )
    for form in (
        f"DARTS = {text}",
        f"11/23 04:05:07 PM genotype = {text}\n",
        text.replace("range(2, 6)", "[2, 3, 4, 5]").replace("=", " = "),
        spaced,
        f"Genotype{grouped}{rest}, connectN=None, connects=None)",
        f"{{'normal': {weighted}, 'normal_concat': range(2, 6), 'reduce': {reduce}, "
        f"'reduce_concat': [2, 3, 4, 5]}}",
        f"Genotype(normal={numpy}, normal_concat=range(2, 6), reduce={reduce}, {rest})",
    ):
        assert convert(form).architecture == v2, form


def test_json_of_a_genotype_is_read() -> None:
    text = (
        '{"normal": [["skip_connect", 0], ["sep_conv_3x3", 1]], "normal_concat": [2], '
        '"reduce": [["max_pool_3x3", 0], ["max_pool_3x3", 1]], "reduce_concat": [2]}'
    )
    found = convert(text).architecture
    assert found.cell("normal").nodes == ((("skip_connect", 0), ("sep_conv_3x3", 1)),)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Any that the space can build: nodes with any number of edges, part of them in the output."""
    found = []
    for name in ("normal", "reduce"):
        kept: list[tuple[tuple[str, int], ...]] = []
        for node in range(2, 2 + draw(st.integers(1, 5))):
            known = [s for s in range(node) if s < 2 or kept[s - 2]]
            sources = draw(st.lists(st.sampled_from(known), unique=True, max_size=3))
            kept.append(tuple((draw(OPERATION), source) for source in sources))
        if not any(kept):
            kept[0] = (("skip_connect", 0),)
        full = [n for n, edges in enumerate(kept, start=2) if edges]
        output = draw(st.lists(st.sampled_from(full), unique=True, min_size=1))
        found.append(Cell(name=name, inputs=2, nodes=tuple(kept), output=tuple(sorted(output))))
    return Architecture(space="darts-cnn", cells=tuple(found))


@given(architectures())
def test_whatever_the_space_can_build_comes_back(found: Architecture) -> None:
    space("darts-cnn").validate(found)
    assert convert(f"x = {written(found, 'genotype')}").architecture == found


@given(st.data(), st.integers(1, 9))
def test_recurrent_cells_come_back(data: st.DataObject, count: int) -> None:
    names = st.sampled_from(["tanh", "relu", "sigmoid", "identity"])
    edges = [((data.draw(names), data.draw(st.integers(0, n - 1))),) for n in range(1, count + 1)]
    cell = Cell(name="recurrent", inputs=1, nodes=tuple(edges), output=tuple(range(1, count + 1)))
    found = Architecture(space="darts-rnn", cells=(cell,))
    assert convert(written(found, "genotype")).architecture == found


def test_none_adds_nothing_and_is_left_out() -> None:
    normal, reduce = map(nodes, PUBLISHED["DARTS_V2"])
    normal[1][0], normal[3] = ("none", 0), [("none", 0), ("none", 1)]
    found = convert(cells(normal, reduce)).architecture.cell("normal")
    assert found.nodes[1] == (("sep_conv_3x3", 1),)
    assert (found.nodes[3], found.output) == ((), (2, 3, 4))


def test_the_space_can_be_named() -> None:
    noisy = cells([[("noise", 0), ("sep_conv_3x3", 1)]] * 4, [[("noise", 0), ("noise", 1)]] * 4)
    assert "cannot be built" in refused(noisy)
    assert convert(noisy, space="s4").architecture.space == "s4"


def test_naslib_gives_out_all_nodes_whatever_its_concat_says() -> None:
    text = genotype("DARTS_V1", "[2, 3, 4, 5, 6]").replace(
        "reduce_concat=[2, 3, 4, 5, 6]", "reduce_concat=[4, 5, 6]"
    )
    told = refused(text)
    assert "the output names node 6, and there are the nodes 2 to 5" in told
    assert "--from naslib" in told
    assert convert(text, form="naslib").architecture == published("DARTS_V1")


NASNET = (  # as quark0/darts has it
    "sep5:1 sep3:0 | sep5:0 sep3:0 | avg:1 skip:0 | avg:0 avg:0 | sep3:1 skip:1",
    "sep5:1 sep_conv_7x7:0 | max:1 sep_conv_7x7:0 | avg:1 sep5:0 | skip:3 avg:2 | sep3:2 max:1",
)
AMOEBANET = (
    "avg:0 max:1 | sep3:0 sep5:2 | sep3:0 avg:3 | sep3:1 skip:1 | skip:0 avg:1",
    "avg:0 sep3:1 | max:0 sep_conv_7x7:2 | sep_conv_7x7:0 avg:1 | max:0 max:1 "
    "| conv_7x1_1x7:0 sep3:5",
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (cells(*map(nodes, NASNET), concat="[2, 3, 4, 5, 6]"), "node 5 lists the same edge twice"),
        (cells(*map(nodes, AMOEBANET), concat="[4, 5, 6]"), "node 5 has the sources [1, 1]"),
        (cells(nodes(NASNET[1]), nodes(NASNET[1]), concat="[4, 5, 6]"), '"sep_conv_7x7" cannot'),
        ("Genotype(normal=[('skip_connect', 0)], normal_concat=[2], reduce=None)", "normal_concat"),
        (genotype("DARTS_V1").replace("('sep_conv_3x3', 1), ", "", 1), "found 7 edges"),
        (genotype("DARTS_V1").replace("'sep_conv_3x3', 1", "'sep_conv_3x3', 7", 1), "source 7"),
        (genotype("DARTS_V1").replace("range(2, 6)", "[2, 3, 3]", 1), "not an ascending"),
        (genotype("DARTS_V1").replace("range(2, 6)", "range(2, 99)", 1), "names node 98"),
        (genotype("DARTS_V1").replace("range(2, 6)", "'2345'", 1), "expected node numbers"),
        (genotype("DARTS_V1").replace("range(2, 6)", "range(2, 10**9)", 1), "notation"),
        (genotype("DARTS_V1").replace("range(2, 6)", "range(2, 1000000)", 1), "up to 1000"),
        (genotype("DARTS_V1").replace("range(2, 6)", "[True]", 1), "expected numbers below"),
        (genotype("DARTS_V1").replace("'sep_conv_3x3', 1", "1, 1", 1), "found (1, 1), expected"),
        (genotype("DARTS_V1").replace("normal=", "norm=", 1), "found the fields"),
        (genotype("DARTS_V1").replace("normal=", "", 1), "expected lists, tuples"),
        (genotype("DARTS_V1")[:-30], "as where a file is cut off"),
        ("Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=[2])", "as output all"),
        ("Genotype(recurrent=[('tanh', 0), ('relu', 2)], concat=[1, 2])", "source 2"),
        ("Genotype(**fields)", "notation"),
        ("Genotype(normal=os.getcwd())", "notation"),
        ("Genotype(normal=open('x'))", "expected lists, tuples"),
        ("Genotype(normal=[c for c in (1,)])", "expected lists, tuples"),
        ("Genotype(normal=" + "[" * 99 + "]" * 99 + ")", "more than 12 brackets"),
        ("Genotype(normal=" + "9" * 5000 + ")", "no Python value"),
        ("Genotype(normal=(" + "1," * 20_000 + "))", "more than 10,000 parts"),
        ("Genotype(normal=(" + "1," * 30_000 + "))", "more than 50,000 characters"),
        ("{'normal': [], 'normal': []}", "each once"),
        (genotype("FAIR_DARTS_B").replace("3', 2, 0", "3', 1, 0", 1), "found node 1, expected 2"),
        (genotype("DARTS_V1").replace("range(2, 6)", "[2, 200]", 1), "numbers below 100"),
        ("Genotype(recurrent=7, concat=[1])", "found 7, expected a list of edges"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text: str, told: str) -> None:
    said = refused(text)
    assert told in said
    assert "\n" not in said and len(said) < 600


def test_what_a_genotype_cannot_say_is_not_written() -> None:
    cell = Cell(name="recurrent", inputs=1, nodes=((), (("relu", 0),)), output=(2,))
    found = Architecture(space="darts-rnn", cells=(cell,))
    with pytest.raises(ArchgradError, match="nodes without an edge"):
        written(found, "genotype")
    with pytest.raises(ArchgradError, match="cells cell of space nas-bench-201"):
        convert("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|").text("genotype")
    with pytest.raises(ArchgradError, match="does not fit space nas-bench-201"):
        convert("DARTS_V2").text("nas-bench-201")
    with pytest.raises(ArchgradError, match='"yaml" is not known; .*Known: archgrad, genotype'):
        convert("DARTS_V2").text("yaml")
