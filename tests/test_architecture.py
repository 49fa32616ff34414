"""Architecture values: round trips, every kind of wrong file, published names, no unsafe code."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import archgrad
from archgrad.architecture import Architecture, Cell, published, published_names, resolve
from archgrad.errors import ArchgradError
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import from_string

FULL = ["DARTS_V1", "DARTS_V2", "PC_DARTS", "PC_DARTS_IMAGENET", "PDARTS"]
NAMES = sorted([*FULL, "FAIR_DARTS_A", "FAIR_DARTS_B"])
V2 = published("DARTS_V2")


def random_cells(seed: int, nodes: int = 4, edges: int = 2) -> Architecture:
    space = DartsCNN(nodes=nodes, edges_per_node=edges)
    return space.random_architecture(torch.Generator().manual_seed(seed))


def cell(**changes: Any) -> Cell:
    values = {"name": "normal", "inputs": 2, "nodes": ((("skip_connect", 0),),), "output": (2,)}
    return Cell.model_validate({**values, **changes})


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 2))
def test_json_round_trip_gives_an_equal_value_with_an_equal_hash(
    seed: int, nodes: int, edges: int
) -> None:
    architecture = random_cells(seed, nodes, edges)
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.to_json() == architecture.to_json()


def test_json_is_plain_and_holds_the_format_version() -> None:
    values = json.loads(V2.to_json())
    assert values["format"] == "archgrad-architecture/1"
    assert values["space"] == "darts-cnn"
    assert values["cells"][0]["nodes"][3] == [["skip_connect", 0], ["dil_conv_3x3", 2]]


def test_an_architecture_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text(V2.to_json(), encoding="utf-8")
    assert Architecture.load(path) == V2


def test_other_architectures_are_unequal_and_values_serve_as_keys() -> None:
    architectures = {published(name) for name in NAMES}
    assert len(architectures) == 7
    assert published("DARTS_V2") in architectures
    assert random_cells(0) not in architectures


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        V2.space = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        V2.cell("normal").output = (2,)  # type: ignore[misc]


def test_the_operations_of_a_cell_go_node_by_node() -> None:
    assert V2.cell("reduce").operations == (
        *("max_pool_3x3", "max_pool_3x3", "skip_connect", "max_pool_3x3"),
        *("max_pool_3x3", "skip_connect", "skip_connect", "max_pool_3x3"),
    )


def test_text_shows_operations_and_sources() -> None:
    lines = str(V2).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("normal  sep_conv_3x3<-0 sep_conv_3x3<-1 | ")
    assert lines[1].endswith("| skip_connect<-2 max_pool_3x3<-1")


def _edges(*operations: str) -> Architecture:
    """A cell of one node, to which input 0, 1, ... comes through these operations."""
    nodes = (tuple((name, source) for source, name in enumerate(operations)),)
    return Architecture(
        space="darts-cnn", cells=(Cell(name="normal", inputs=6, nodes=nodes, output=(6,)),)
    )


def test_the_distance_is_the_share_of_edges_that_differ() -> None:
    convs = _edges("conv", "conv", "conv", "conv")
    assert convs.distance(_edges("conv", "conv", "conv", "skip")) == 0.25
    assert convs.distance(_edges("conv")) == 0.75, "of the larger one"
    assert convs.distance(_edges("skip", "skip", "skip", "skip")) == 1.0
    swapped = convs.model_copy(update={"cells": (convs.cells[0].model_copy(update={"name": "r"}),)})
    assert convs.distance(swapped) == 1.0, "edges of other cells are others"
    assert _edges().distance(_edges()) == 0.0


def test_the_distance_of_nas_bench_201_is_the_share_of_its_operations() -> None:
    text = "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|"
    other = "|none~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    assert from_string(text).distance(from_string(other)) == pytest.approx(2 / 6)


def test_architectures_of_different_spaces_have_no_distance() -> None:
    with pytest.raises(ArchgradError, match="spaces darts-cnn and s2; expected two of one space"):
        V2.distance(V2.model_copy(update={"space": "s2"}))


@given(seed=st.integers(0, 1000))
def test_a_distance_is_symmetric_and_zero_to_itself(seed: int) -> None:
    one, other = random_cells(seed), random_cells(seed + 1)
    assert one.distance(one) == 0.0
    assert one.distance(other) == other.distance(one) >= 0
    assert (one.distance(other) == 0) == (one == other)


def test_an_unknown_cell_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        ArchgradError, match=r'cell "reduced" is not known; did you mean "reduce".*normal, reduce'
    ):
        V2.cell("reduced")


# --- wrong values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": ((("skip_connect", 2),),)}, "node 2 takes skip_connect from source 2.* 0 to 1"),
        ({"nodes": ((("skip_connect", -1),),)}, "from source -1; expected a source from 0 to 1"),
        ({"nodes": ((("a", 0), ("a", 0)),)}, "node 2 lists the same edge twice"),
        ({"output": (3,)}, r"output \[3\] .*nodes 2 to 2"),
        ({"output": (1,)}, r"output \[1\] .*nodes 2 to 2"),
        ({"output": (2, 2)}, r"output \[2, 2\] is not an ascending selection"),
    ],
)
def test_an_inconsistent_cell_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        cell(**changes)


def test_an_output_out_of_order_is_refused() -> None:
    nodes = ((("skip_connect", 0),), (("skip_connect", 1),))
    assert cell(nodes=nodes, output=(2, 3)).output == (2, 3)
    with pytest.raises(ValidationError, match="ascending"):
        cell(nodes=nodes, output=(3, 2))


def test_a_later_node_may_take_an_earlier_one_and_two_operations_of_one_source() -> None:
    nodes = ((("a", 0), ("b", 0)), (("a", 2),))
    assert cell(nodes=nodes, output=(3,)).operations == ("a", "b", "a")


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(V2.to_json()), **changes}


def with_cell(**changes: Any) -> dict[str, Any]:
    cells = document()["cells"]
    return document(cells=[{**cells[0], **changes}, cells[1]])


def without(values: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != field}


TWICE = [[["skip_connect", 0], ["skip_connect", 0]]]
WRONG_DOCUMENTS = {
    "version": (
        document(format="archgrad-architecture/2"),
        "field format: found 'archgrad-architecture/2', expected 'archgrad-architecture/1'",
    ),
    "missing": (without(document(), "space"), "field space is missing; add it"),
    "missing inside": (
        document(cells=[without(document()["cells"][0], "inputs")]),
        "field cells.0.inputs is missing; add it",
    ),
    "type": (document(space=3), "field space: found 3, expected a valid string"),
    "number as text": (with_cell(inputs="2"), "field cells.0.inputs: found '2', expected"),
    "type inside": (with_cell(nodes=[[["a", 0.5]]]), "field cells.0.nodes.0.0.1: found 0.5"),
    "true is no number": (with_cell(inputs=True), "field cells.0.inputs: found True, expected"),
    "unknown": (document(extra=1), "field extra is not known; remove it or correct its name"),
    "unknown inside": (with_cell(colour=1), "field cells.0.colour is not known"),
    "no cells": (document(cells=[]), "field cells: found [], expected"),
    "no nodes": (with_cell(nodes=[]), "field cells.0.nodes: found [], expected"),
    "source": (
        with_cell(nodes=[[["skip_connect", 2]]], output=[2]),
        "cells.0: node 2 takes skip_connect from source 2; expected a source from 0 to 1",
    ),
    "duplicate edge": (with_cell(nodes=TWICE), "cells.0: node 2 lists the same edge twice"),
    "output": (with_cell(output=[9]), "cells.0: output [9] is not an ascending selection"),
    "duplicate cells": (
        document(cells=[document()["cells"][0]] * 2),
        "cells ['normal', 'normal'] do not have distinct names",
    ),
    "list": ([], "field file: found [], expected an object"),
}


@pytest.mark.parametrize("kind", WRONG_DOCUMENTS)
def test_a_wrong_file_is_named_with_its_field(kind: str, tmp_path: Path) -> None:
    content, message = WRONG_DOCUMENTS[kind]
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ArchgradError) as caught:
        Architecture.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"DARTS_V2", V2.to_json().encode()[:-5], b"[" * 5000]
)
def test_a_file_that_is_not_json_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(ArchgradError, match="not valid JSON") as caught:
        Architecture.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(V2.to_json().replace("normal", "normál").encode("latin-1"))
    with pytest.raises(ArchgradError, match=r"wrong\.json cannot be read.*utf-8.*expected a JSON"):
        Architecture.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"none\.json cannot be read.*No such file"):
        Architecture.load(tmp_path / "none.json")


def test_the_origin_of_a_text_is_named() -> None:
    with pytest.raises(ArchgradError, match=r"^my text: not valid JSON"):
        Architecture.from_json("no", origin="my text")


@given(st.text(max_size=30))
def test_any_text_that_is_no_architecture_is_a_clear_error(text: str) -> None:
    with pytest.raises(ArchgradError):
        Architecture.from_json(text)


# --- published architectures and references ----------------------------------------------------


def test_the_published_architectures() -> None:
    assert list(published_names()) == sorted([*NAMES, "DARTS_RNN_V1", "DARTS_RNN_V2"])


@pytest.mark.parametrize("name", NAMES)
def test_a_published_architecture_fits_its_space(name: str) -> None:
    architecture = published(name)
    DartsCNN().validate(architecture)
    for found in architecture.cells if name in FULL else ():
        assert found.output == (2, 3, 4, 5)
        assert [len(edges) for edges in found.nodes] == [2, 2, 2, 2]


def test_a_recurrent_cell_is_told_node_by_node() -> None:
    assert str(published("DARTS_RNN_V2")) == (
        "recurrent sigmoid<-0 | relu<-1 | relu<-1 | identity<-1 | tanh<-2 | sigmoid<-5 | tanh<-3 "
        "| relu<-5"
    )


def test_darts_v1_is_the_published_cell() -> None:
    """Table of the original code's genotypes."""
    v1 = published("DARTS_V1")
    sep, skip, most, mean = "sep_conv_3x3", "skip_connect", "max_pool_3x3", "avg_pool_3x3"
    assert v1.cell("normal").nodes == (
        ((sep, 1), (sep, 0)),
        ((skip, 0), (sep, 1)),
        ((skip, 0), (sep, 1)),
        ((sep, 0), (skip, 2)),
    )
    assert v1.cell("reduce").nodes == (
        ((most, 0), (most, 1)),
        ((skip, 2), (most, 0)),
        ((most, 0), (skip, 2)),
        ((skip, 2), (mean, 0)),
    )


def test_an_unknown_published_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ArchgradError, match=r'"DARTS_V3" is not known; did you mean "DARTS_V\d"'):
        published("DARTS_V3")


def test_a_reference_is_a_value_a_name_a_file_or_a_run_folder(tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    path.write_text(published("PDARTS").to_json(), encoding="utf-8")
    bare = tmp_path / "cell"
    bare.write_text(published("PC_DARTS").to_json(), encoding="utf-8")
    assert resolve(V2) is V2
    assert resolve("DARTS_V2") == V2
    assert resolve(path) == resolve(str(path)) == published("PDARTS")
    assert resolve(tmp_path) == published("PDARTS")
    assert resolve(bare) == published("PC_DARTS")


def test_a_reference_to_nothing_says_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(
        ArchgradError, match=r'"nonsense" is not known.*DARTS_V2.*or give a \.json file or a run'
    ):
        resolve("nonsense")
    with pytest.raises(ArchgradError, match=r"absent\.json cannot be read"):
        resolve("absent.json")
    with pytest.raises(ArchgradError, match="holds no architecture.json; if it is an unfinished"):
        resolve(tmp_path)


# --- safety ------------------------------------------------------------------------------------


def unsafe_calls(source: str) -> list[str]:
    """Calls of eval, exec, compile or __import__, and torch.load without weights_only=True."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        safe = any(
            k.arg == "weights_only" and getattr(k.value, "value", None) is True
            for k in node.keywords
        )
        if called in {"eval", "exec", "compile", "__import__"} or (
            called == "torch.load" and not safe
        ):
            found.append(called)
    return found


def imports(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


SAFE_READERS = ("data/cifar.py", "benchmarks/official.py")  # each with a list of what may be named


def test_no_source_file_evaluates_text_or_reads_pickles() -> None:
    root = Path(archgrad.__file__).parent
    files = sorted(root.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        source = file.read_text(encoding="utf-8")
        assert unsafe_calls(source) == [], file
        if file.relative_to(root).as_posix() not in SAFE_READERS:
            assert imports(source).isdisjoint({"pickle", "dill", "joblib", "shelve"}), file


def test_the_scan_finds_what_it_looks_for() -> None:
    assert unsafe_calls("eval('1')\nexec('1')\nmodel.eval()") == ["eval", "exec"]
    assert unsafe_calls("torch.load(x)\ntorch.load(x, weights_only=False)") == ["torch.load"] * 2
    assert unsafe_calls("torch.load(x, weights_only=True)") == []
    assert imports("import pickle\nfrom os import path") == {"pickle", "os"}
