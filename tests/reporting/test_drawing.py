"""The drawings: geometry without overlaps, well-formed SVG, PNG of the same picture."""

from __future__ import annotations

import io
import random
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import combinations

import pytest

from archgrad.architecture import Architecture, Cell, published
from archgrad.reporting.drawing import png, svg
from archgrad.reporting.layout import Box, Edge, Layout, layout, style
from archgrad.spaces.nas_bench_201 import from_string

SVG = "{http://www.w3.org/2000/svg}"
PUBLISHED = ("DARTS_V1", "DARTS_V2", "PC_DARTS", "PC_DARTS_IMAGENET", "PDARTS", "FAIR_DARTS_A")
OPERATIONS = (
    "sep_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "skip_connect",
    "none",
    "conv_7x1_1x7",
)
ODD = Cell(
    name='<&"> $x_1$ \x00', inputs=1, nodes=((("<b>&\x1f$\\frac", 0), ("pool", 0)), ()), output=(1,)
)
TEXT = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|"
ONE_INPUT = from_string(TEXT).cells[0]

Area = tuple[float, float, float, float]  # left, top, right, bottom


def random_cell(seed: int) -> Cell:
    rng = random.Random(seed)
    inputs, count = rng.choice((1, 2, 2, 3)), seed % 8 + 1
    nodes = []
    for node in range(inputs, inputs + count):
        edges = [(operation, source) for source in range(node) for operation in OPERATIONS]
        nodes.append(tuple(rng.sample(edges, rng.randint(1, 5))))
    output = rng.sample(range(inputs, inputs + count), rng.randint(1, count))
    return Cell(
        name=f"random {seed}", inputs=inputs, nodes=tuple(nodes), output=tuple(sorted(output))
    )


def dense_cell() -> Cell:
    nodes = tuple(tuple((op, i) for i in range(n) for op in OPERATIONS[:2]) for n in range(2, 10))
    return Cell(name="dense", inputs=2, nodes=nodes, output=tuple(range(2, 10)))


CELLS = {f"{n} {cell.name}": cell for n in PUBLISHED for cell in published(n).cells}
CELLS |= {f"random {seed}": random_cell(seed) for seed in range(20)}
CELLS |= {"dense": dense_cell(), "odd": ODD, "one input": ONE_INPUT}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


def random_recurrent_cell(seed: int) -> Cell:
    rng, names = random.Random(seed), ("tanh", "relu", "sigmoid", "identity")
    nodes = tuple(((rng.choice(names), rng.randrange(node)),) for node in range(1, 2 + 2 * seed))
    output = tuple(range(1, 1 + len(nodes)))
    return Cell(name="recurrent", inputs=1, nodes=nodes, output=output)


PICTURES = CELLS | {f"recurrent {seed}": random_recurrent_cell(seed) for seed in range(8)}
PICTURES |= {name: published(name).cells[0] for name in ("DARTS_RNN_V1", "DARTS_RNN_V2")}
every_picture = pytest.mark.parametrize("cell", PICTURES.values(), ids=PICTURES.keys())


def node_area(box: Box) -> Area:
    return box.x, box.y, box.x + box.width, box.y + box.height


def label_area(edge: Edge) -> Area:
    assert edge.operation is not None
    (x, baseline), half = edge.label, 0.6 * 12 * len(edge.operation) / 2
    return x - half, baseline - 12, x + half, baseline + 3


def overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def along(edge: Edge) -> list[tuple[float, float]]:
    """Points on the edge's line."""
    points = []
    for i in range(0, len(edge.points) - 1, 3):
        pieces = edge.points[i : i + 4]
        for t in (step / 40 for step in range(41)):
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            x, y = (sum(w * p[k] for w, p in zip(weights, pieces, strict=True)) for k in (0, 1))
            points.append((x, y))
    return points


def wiring(picture: Layout) -> Counter[tuple[str | None, int, int]]:
    """The graph that a reader sees: the nodes whose sides the lines touch."""

    def touched(point: tuple[float, float], side: int) -> int:
        areas = map(node_area, picture.nodes)
        found = [
            i
            for i, a in enumerate(areas)
            if a[side] == pytest.approx(point[0]) and a[1] < point[1] < a[3]
        ]
        assert len(found) == 1
        return found[0]

    tips = (edge.head[1] if edge.head else edge.points[-1] for edge in picture.edges)
    return Counter(
        (edge.operation, touched(edge.points[0], 2), touched(tip, 0))
        for edge, tip in zip(picture.edges, tips, strict=True)
    )


@every_picture
def test_labels_and_nodes_do_not_overlap(cell: Cell) -> None:
    picture = layout(cell)
    areas = [node_area(box) for box in picture.nodes]
    areas += [label_area(edge) for edge in picture.edges if edge.operation is not None]
    assert not any(overlap(one, other) for one, other in combinations(areas, 2))
    for left, top, right, bottom in areas:
        assert 0 <= left and 0 <= top and right <= picture.width and bottom <= picture.height


@every_picture
def test_nodes_and_line_ends_stand_apart(cell: Cell) -> None:
    picture = layout(cell)
    grown = [(a - 4, b - 4, c + 4, d + 4) for a, b, c, d in map(node_area, picture.nodes)]
    assert not any(overlap(one, other) for one, other in combinations(grown, 2))
    for end in (0, -1):
        assert len({edge.points[end] for edge in picture.edges}) == len(picture.edges)


@every_picture
def test_lines_cross_neither_nodes_nor_labels(cell: Cell) -> None:
    picture = layout(cell)
    areas = [node_area(box) for box in picture.nodes]
    areas += [label_area(edge) for edge in picture.edges if edge.operation is not None]
    for edge in picture.edges:
        for x, y in along(edge):
            assert not any(a[0] < x < a[2] and a[1] < y < a[3] for a in areas), (edge, x, y)


@every_cell
def test_the_lines_join_the_nodes_of_the_cell(cell: Cell) -> None:
    output = cell.inputs + len(cell.nodes)
    expected: Counter[tuple[str | None, int, int]] = Counter(
        (operation.replace("\x1f", "\ufffd"), source, node)
        for node, edges in enumerate(cell.nodes, start=cell.inputs)
        for operation, source in edges
    )
    expected.update((None, node, output) for node in cell.output)
    assert wiring(layout(cell)) == expected


def test_a_recurrent_cell_is_drawn_from_its_input_and_its_last_state() -> None:
    picture = layout(published("DARTS_RNN_V2").cell("recurrent"))
    labels = [box.label for box in picture.nodes]
    assert labels == ["x_t", "h_{t-1}", *"012345678", "h_t"]
    assert picture.title == "recurrent: the output is the mean of its nodes"
    joined = {(op, labels[i], labels[j]): n for (op, i, j), n in wiring(picture).items()}
    edges = {("tanh", "x_t", "0"), ("tanh", "h_{t-1}", "0"), ("sigmoid", "0", "1")}
    edges |= {("relu", "1", "2"), ("relu", "1", "3"), ("identity", "1", "4"), ("tanh", "2", "5")}
    edges |= {("sigmoid", "5", "6"), ("tanh", "3", "7"), ("relu", "5", "8")}
    assert joined == dict.fromkeys(edges | {(None, node, "h_t") for node in "12345678"}, 1)
    texts = {"".join(t.itertext()) for t in ET.fromstring(svg(published("DARTS_RNN_V2"))).iter()}
    assert {"xt", "ht-1", "ht"} <= texts


def test_activations_differ_in_their_lines() -> None:
    lines = [style(name) for name in ("tanh", "relu", "sigmoid", "identity", None, "mystery")]
    assert len({line.color for line in lines}) == 6


def test_nodes_stand_in_the_column_of_their_depth() -> None:
    boxes = {box.label: box.x for box in layout(published("DARTS_V2").cell("normal")).nodes}
    assert list(boxes) == ["c_{k-2}", "c_{k-1}", "0", "1", "2", "3", "c_k"]
    assert boxes["c_{k-2}"] == boxes["c_{k-1}"]
    assert boxes["c_{k-1}"] < boxes["0"] == boxes["1"] == boxes["2"] < boxes["3"] < boxes["c_k"]


def test_other_numbers_of_inputs_are_numbered() -> None:
    cell = Cell(name="x", inputs=3, nodes=((("skip_connect", 2),),), output=(3,))
    labels = [box.label for box in layout(cell).nodes]
    assert labels == ["input 0", "input 1", "input 2", "0", "c_k"]


def test_kinds_differ_in_dashes_and_color() -> None:
    names = ("sep_conv_5x5", "dil_conv_3x3", "avg_pool_3x3", "skip_connect", "mystery", None)
    sep, dil, pool, skip, unknown, concatenation = map(style, names)
    assert sep.dashes == unknown.dashes == concatenation.dashes == ()
    assert len({(), dil.dashes, pool.dashes, skip.dashes}) == 4
    lines = {sep.color, dil.color, pool.color, skip.color, unknown.color, concatenation.color}
    assert len(lines) == 6
    assert style("max_pool_3x3") == pool and style("another") == unknown
    assert concatenation.width < sep.width


@pytest.mark.parametrize("name", PUBLISHED)
def test_svg_shows_every_cell(name: str) -> None:
    architecture = published(name)
    root = ET.fromstring(svg(architecture))
    pictures = [layout(cell) for cell in architecture.cells]
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    assert root.tag == f"{SVG}svg"
    viewbox = [float(number) for number in root.attrib["viewBox"].split()]
    assert viewbox == pytest.approx([0, 0, width, height], abs=0.1)
    assert root[0].attrib == {"width": "100%", "height": "100%", "fill": "white"}
    texts = Counter("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    expected = Counter(op for cell in architecture.cells for op in cell.operations)
    expected.update(["normal", "reduce"] + ["ck-2", "ck-1", "0", "1", "2", "3", "ck"] * 2)
    assert texts == expected
    dashed = Counter(path.attrib["stroke-dasharray"] for path in root.iter(f"{SVG}path"))
    kinds = Counter(bool(style(edge.operation).dashes) for p in pictures for edge in p.edges)
    assert dashed["none"] == kinds[False] and dashed.total() == kinds.total()


def test_a_cell_with_one_input_shows_its_nodes_and_edges() -> None:
    picture = layout(ONE_INPUT)
    assert [box.label for box in picture.nodes] == ["input 0", "0", "1", "2", "c_k"]
    expected = {("nor_conv_3x3", 0, 1), ("none", 0, 2), ("avg_pool_3x3", 1, 2), (None, 3, 4)}
    expected |= {("skip_connect", 0, 3), ("nor_conv_1x1", 1, 3), ("skip_connect", 2, 3)}
    assert wiring(picture) == dict.fromkeys(expected, 1)


def test_svg_stacks_the_cells() -> None:
    architecture = published("PDARTS")
    shifts = [
        group.attrib["transform"] for group in ET.fromstring(svg(architecture)).iter(f"{SVG}g")
    ]
    assert shifts == [
        "translate(0 0.0)",
        f"translate(0 {layout(architecture.cells[0]).height:.1f})",
    ]


def test_svg_escapes_and_needs_nothing_from_elsewhere() -> None:
    text = svg(Architecture(space="odd", cells=(ODD,)))
    words = {"".join(element.itertext()) for element in ET.fromstring(text).iter(f"{SVG}text")}
    assert {'<&"> $x_1$ \ufffd', "<b>&\ufffd$\\frac", "input 0"} <= words
    assert text.count("http") == 1  # the name space
    tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(text).iter()}
    assert tags == {"svg", "rect", "g", "text", "path", "polygon", "tspan"}


def test_a_long_title_fits() -> None:
    cell = Cell(name="n" * 200, inputs=1, nodes=((("skip_connect", 0),),), output=(1,))
    assert layout(cell).width > 200 * 0.6 * 16


def test_png_is_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    architecture = published("DARTS_V2")
    data = png(architecture)
    assert data is not None
    pixels = image.imread(io.BytesIO(data))[..., :3]
    pictures = [layout(cell) for cell in architecture.cells]
    size = sum(p.height for p in pictures), max(p.width for p in pictures)
    assert pixels.shape[:2] == pytest.approx([2 * side for side in size], abs=1)
    assert (pixels[0] == 1).all() and (pixels[-1] == 1).all()

    def color_at(picture: Layout, point: tuple[float, float]) -> str:
        top = 0 if picture is pictures[0] else pictures[0].height
        red, green, blue = pixels[round(2 * (top + point[1])), round(2 * point[0])]
        return "#" + "".join(f"{round(float(part) * 255):02x}" for part in (red, green, blue))

    for picture in pictures:
        for edge in picture.edges:
            if edge.operation is not None:
                (x, y), color = edge.points[-1], style(edge.operation).color
                assert color_at(picture, (x + 3, y)) == color  # inside the arrow head
                if not style(edge.operation).dashes:
                    x, y = edge.points[3]
                    assert color_at(picture, (x + 3, y)) == color  # on the straight line


def test_png_of_odd_names() -> None:
    pytest.importorskip("matplotlib")
    data = png(Architecture(space="odd", cells=(ODD,)))
    assert data is not None and data.startswith(b"\x89PNG\r\n\x1a\n")


def test_operation_names_are_not_wider_than_estimated() -> None:
    textpath = pytest.importorskip("matplotlib.textpath")
    for name in {operation for cell in CELLS.values() for operation in cell.operations} - {
        ODD.nodes[0][0][0]
    }:
        width = textpath.TextPath((0, 0), name, size=12).get_extents().width
        assert width <= 0.6 * 12 * len(name)


def test_no_png_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert png(published("DARTS_V2")) is None
