"""Exports of NNI, configurations of NAS-Bench-301, NASLib's numbers, strings of NAS-Bench-201."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.architecture import Architecture, published
from archgrad.benchmarks.numbering import CELLS, string
from archgrad.conversion import convert
from archgrad.errors import ArchgradError
from other_tools import PUBLISHED, nas_bench_301, nni_choices, nni_old

TWO_EDGES = [name for name in PUBLISHED if not name.startswith("FAIR")]
BEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
)


def refused(source: object, **options: Any) -> str:
    text = source if isinstance(source, str) else json.dumps(source)
    with pytest.raises(ArchgradError) as error:
        _ = convert(text, **options).architecture
    return str(error.value)


def unordered(found: Architecture) -> list[list[set[tuple[str, int]]]]:
    return [[set(edges) for edges in cell.nodes] for cell in found.cells]


@pytest.mark.parametrize("name", TWO_EDGES)
@pytest.mark.parametrize("write", [json.dumps, str])
def test_choices_of_nni_are_read(name: str, write: Callable[[object], str]) -> None:
    for listed in (True, False):
        choices = nni_choices(name, listed)
        assert convert(write(choices)).architecture == published(name)
        scoped = {f"model/{key}": choice for key, choice in choices.items()}
        assert convert(write(scoped), form="nni").architecture == published(name)


@pytest.mark.parametrize("name", TWO_EDGES)
@pytest.mark.parametrize("numbers", [True, False])
def test_choices_of_the_first_nni_are_read(name: str, numbers: bool) -> None:
    """Within a node the order of edges is that of their sources, for they are summed."""
    choices = nni_old(name, numbers)
    found = convert(json.dumps(choices)).architecture
    assert unordered(found) == unordered(published(name))
    assert all(cell.output == (2, 3, 4, 5) for cell in found.cells)
    by_number = {
        key: [int(each[-1]) for each in choice] if "switch" in key else choice
        for key, choice in choices.items()
    }
    assert convert(str(by_number)).architecture == found


def test_cells_of_five_nodes_of_nni_give_out_what_no_other_node_takes() -> None:
    choices: dict[str, Any] = {}
    for cell in ("normal", "reduce"):
        for node in range(2, 7):
            for slot, source in enumerate((0, 2 if node > 2 else 1)):
                choices[f"{cell}/op_{node}_{slot}"] = "sep_conv_3x3"
                choices[f"{cell}/input_{node}_{slot}"] = source
    found = convert(str(choices)).architecture
    assert found.cell("normal").output == (3, 4, 5, 6)


@pytest.mark.parametrize("name", TWO_EDGES)
def test_configurations_of_nas_bench_301_are_read(name: str) -> None:
    found = convert(json.dumps(nas_bench_301(name))).architecture
    assert unordered(found) == unordered(published(name))


@given(st.integers(0, CELLS - 1), st.sampled_from(["/", "__"]))
def test_choices_of_nas_bench_201_of_nni_are_read(number: int, mark: str) -> None:
    text, choices = string(number), {}
    for node, part in enumerate(text.split("+"), start=1):
        for entry in part.strip("|").split("|"):
            name, source = entry.split("~")
            choices[f"cell{mark}{source}_{node}"] = name.removeprefix("nor_")
    assert convert(str(choices)).text("nas-bench-201") == text


@given(st.integers(0, CELLS - 1))
def test_strings_of_nas_bench_201_come_back(number: int) -> None:
    text = string(number)
    for source in (text, f"Structure(4 nodes with {text})", f"x: '{text}',\n"):
        assert convert(source).text("nas-bench-201") == text


def test_strings_of_the_table_come_back(real_data: Path) -> None:
    """Every eighth of it, as one text."""
    path = real_data / "nas-bench-201" / "nb201_cifar10.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        strings = [row["arch"] for row in csv.DictReader(file)][::8]
    found = convert("\n".join(strings))
    assert len(found.found) == len(strings) == CELLS // 8 + 1
    for text, each in zip(strings, found.found, strict=True):
        assert each.architecture is not None
        assert convert(each.architecture).text("nas-bench-201") == text


def test_op_indices_of_naslib_are_ordered_by_source() -> None:
    """Its edges are 0-1, 0-2, 0-3, 1-2, 1-3, 2-3; its operations begin with the identity."""
    found = convert("[2, 2, 0, 2, 2, 3]", form="naslib").text("nas-bench-201")
    assert found == BEST
    other = convert("(0, 1, 2, 3, 4, 0)", form="naslib").text("nas-bench-201")
    assert other == (
        "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|skip_connect~2|"
    )


def edited(**changes: Any) -> dict[str, Any]:
    found = nni_choices("DARTS_V2")
    for key, choice in changes.items():
        del found[key.replace("__", "/")]
        if choice is not None:
            found[key.replace("__", "/")] = choice
    return found


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        (edited(normal__input_3_0=None), {}, "without normal/input_3_0; expected both"),
        (edited(normal__input_3_0=3), {}, "from 3, expected an operation's name and a number from"),
        (edited(normal__op_3_0=7), {}, "found 7 from 0"),
        (edited(normal__op_3_0=["a", "b"]), {}, "found ['a', 'b'] from 0"),
        (edited(normal__op_3_0="conv_9x9"), {}, '"conv_9x9" cannot be built'),
        (edited(normal__input_3_0=1), {}, "node 3 "),
        ({"normal/op_2_0": "skip_connect", "normal/input_2_0": 0}, {}, "found choices of normal,"),
        ({**nni_choices("DARTS_V2"), "a/normal/op_2_0": "x"}, {}, "several models"),
        ({**nni_old("DARTS_V2"), "normal_n2_p0": "conv"}, {}, "operation of normal_n2_p0"),
        ({**nni_old("DARTS_V2"), "normal_n2_p0": [True, False]}, {}, "operation of normal_n2_p0"),
        ({**nni_old("DARTS_V2"), "normal_n2_switch": ["x"]}, {}, "expected the inputs it lets in"),
        ({"layer1": "conv"}, {}, "found no architecture"),
        (nni_choices("DARTS_V2"), {"form": "naslib"}, "no architecture of the form naslib"),
        (nas_bench_301("DARTS_V2"), {"form": "nni"}, "no architecture of the form nni"),
        ([2, 2, 0, 2, 2, 3], {}, "which tools order differently; if they are NASLib's"),
        ([2, 2, 0, 2, 2, 5], {"form": "naslib"}, "expected six numbers from 0 to 4"),
        ([2, 2, 0], {"form": "naslib"}, "expected six numbers"),
        ("(0)", {"form": "naslib"}, "found 0, expected six numbers"),
        ([[[0, 3]] * 8] * 2, {"form": "naslib"}, "NASLib's compact form, of which its two"),
        (BEST.replace("nor_conv_1x1", "conv_1x1"), {}, 'operation "conv_1x1" is not known'),
        ("|a~0|+|b~0|c~1|", {}, "found 2 nodes, expected 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    source: object, options: dict[str, Any], told: str
) -> None:
    said = refused(source, **options)
    assert told in said
    assert "\n" not in said and len(said) < 600
