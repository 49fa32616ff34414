"""Logs and result files: the architecture and the numbers of every epoch."""

from __future__ import annotations

import csv
import io
import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from archgrad.architecture import published
from archgrad.benchmarks.numbering import string
from archgrad.conversion import convert
from archgrad.errors import ArchgradError
from other_tools import autodl_log, darts_log, errors_json, genotype, recurrent_log

NAMES = ["DARTS_V1", "DARTS_V2", "PC_DARTS"]


def test_a_log_of_darts_has_an_architecture_and_numbers_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(darts_log(NAMES))
    found = convert(path)
    assert found.architecture == published("PC_DARTS")
    assert [each.epoch for each in found.found] == [0, 1, 2]
    assert [found.chosen(epoch=epoch) for epoch in range(3)] == [published(n) for n in NAMES]
    assert [dict(line) for line in found.metrics] == [
        {"epoch": e, "train_accuracy": pytest.approx(0.305 + e / 100),
         "valid_accuracy": pytest.approx(0.4025 + e / 100)}
        for e in range(3)
    ]  # fmt: skip
    assert convert(str(path)) == found


def test_a_log_that_is_cut_off_keeps_what_is_whole() -> None:
    text = darts_log(NAMES, "11/23 04:05:08 PM epoch 3 lr 1e-3\nPM genotype = Genotype(normal=[(")
    found = convert(text)
    assert found.chosen(epoch=2) == published("PC_DARTS")
    with pytest.raises(ArchgradError, match="as where a file is cut off"):
        _ = found.architecture
    with pytest.raises(ArchgradError, match="has epochs 0 to 3, not epoch 9; choose one"):
        found.chosen(epoch=9)


def test_lines_of_p_darts_are_known_too() -> None:
    text = "Epoch: 4 lr: 2.5e-02\nTrain_acc 91.5\n" + genotype("PDARTS") + "\nValid_acc 88.0"
    found = convert(text)
    assert (found.found[0].epoch, found.architecture) == (4, published("PDARTS"))
    assert found.metrics == ({"epoch": 4, "train_accuracy": 0.915, "valid_accuracy": 0.88},)


def test_of_an_epoch_that_comes_again_the_last_counts() -> None:
    """As in the stages of P-DARTS, or where a run went on."""
    found = convert(darts_log(NAMES) + darts_log(["PDARTS", "DARTS_V1"]))
    assert found.architecture == found.chosen(epoch=1) == published("DARTS_V1")
    assert [each.epoch for each in found.found] == [2, 0, 1]
    assert [line["epoch"] for line in found.metrics] == [0, 1, 2]
    with pytest.raises(ArchgradError, match="has epochs 0 to 2, not epoch 3"):
        found.chosen(epoch=3)


def test_a_log_of_recurrent_cells_names_the_epoch_after_its_genotypes() -> None:
    found = convert(recurrent_log())
    assert [(each.epoch, each.architecture) for each in found.found] == [
        (1, published("DARTS_RNN_V1")), (2, published("DARTS_RNN_V2"))
    ]  # fmt: skip
    assert found.metrics[1] == {"epoch": 2, "valid_loss": 4.5, "valid_perplexity": 400.25}


def test_a_log_of_autodl_projects() -> None:
    strings = [string(number) for number in (3127, 15624)]
    found = convert(autodl_log(strings))
    assert [found.text("nas-bench-201", epoch=epoch) for epoch in range(2)] == strings
    assert found.metrics[1] == {
        "epoch": 1, "train_loss": 1.2, "train_accuracy": pytest.approx(0.215),
        "valid_loss": 1.9, "valid_accuracy": 0.3125,
    }  # fmt: skip


@pytest.mark.parametrize("light", [False, True])
def test_the_numbers_of_naslib_come_without_an_architecture(light: bool) -> None:
    text = errors_json() if not light else json.dumps([{"seed": 1}, json.loads(errors_json())])
    found = convert(text)
    assert found.metrics[2] == {
        "epoch": 2, "train_accuracy": 0.52, "valid_accuracy": 0.42, "train_loss": 1.5,
    }  # fmt: skip
    with pytest.raises(ArchgradError, match="numbers of 3 epochs and no architecture; print the"):
        _ = found.architecture
    with pytest.raises(ArchgradError, match=r"train_acc: found \['x'\], expected numbers"):
        convert('{"train_acc": ["x"], "valid_acc": []}')
    log = "INFO Epoch 7 done. Train accuracy: 61.50000, Validation accuracy: 50.25000"
    assert convert(log).metrics == (
        {"epoch": 7, "train_accuracy": 0.615, "valid_accuracy": 0.5025},
    )


def test_the_table_has_a_line_an_epoch() -> None:
    rows = list(csv.DictReader(io.StringIO(convert(darts_log(NAMES)).table())))
    assert [*rows[0]] == ["epoch", "train_accuracy", "valid_accuracy", "architecture"]
    assert [convert(row["architecture"]).architecture for row in rows] == [
        published(name) for name in NAMES
    ]
    strings = [string(7), string(8)]
    rows = list(csv.DictReader(io.StringIO(convert(autodl_log(strings)).table())))
    assert [row["architecture"] for row in rows] == strings
    isolated = genotype("DARTS_RNN_V1").replace("('relu', 5)", "('none', 5)")
    log = f"{isolated}\n| epoch   1 |\n"
    (row,) = csv.DictReader(io.StringIO(convert(log).table()))
    assert convert(row["architecture"]).architecture == convert(isolated).architecture
    rows = list(csv.DictReader(io.StringIO(convert(errors_json(2)).table())))
    assert [row["epoch"] for row in rows] == ["0", "1"] and "architecture" not in rows[0]


def test_of_several_architectures_without_epochs_one_is_chosen_by_name() -> None:
    text = "".join(f"{name} = {genotype(name)}\n" for name in NAMES)
    text = (
        f"from collections import namedtuple\nGenotype = namedtuple('Genotype', 'normal')\n{text}"
    )
    text += "# OLD = " + genotype("PDARTS") + "\nNASNet = Genotype(normal=[('conv_7x7', 0), "
    text += "('conv_7x7', 1)], normal_concat=[2], reduce=[('conv_7x7', 0), ('conv_7x7', 1)], "
    text += "reduce_concat=[2])\nDARTS = DARTS_V2\n"
    found = convert(text)
    assert found.chosen(name="DARTS_V2") == published("DARTS_V2")
    assert {each.name for each in found.found} == {*NAMES, "NASNet"}, "comments are none"
    with pytest.raises(ArchgradError, match="several architectures: DARTS_V1, DARTS_V2, NASNet, P"):
        _ = found.architecture
    with pytest.raises(ArchgradError, match='"conv_7x7" cannot be built'):
        found.chosen(name="NASNet")
    with pytest.raises(ArchgradError, match='"V2" is not known'):
        found.chosen(name="V2")
    with pytest.raises(ArchgradError, match="has architectures without epochs, not epoch 1"):
        found.chosen(epoch=1)


def test_what_is_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    v2 = published("DARTS_V2")
    path = tmp_path / "architecture.json"
    path.write_text(v2.to_json())
    for source in ("DARTS_V2", v2, path, tmp_path, str(path), v2.to_json()):
        assert convert(source).architecture == v2
    assert convert("DARTS_V2", form="archgrad").architecture == v2
    with pytest.raises(ArchgradError, match=r"no architecture of the form nni in .*DARTS_V2"):
        convert("DARTS_V2", form="nni")
    with pytest.raises(ArchgradError, match='form "pickle" is not known; .*Known: archgrad'):
        convert("DARTS_V2", form="pickle")


def test_a_file_without_any_is_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04" + bytes(range(256)))
    with pytest.raises(ArchgradError, match=r"no architecture in .*weights\.pt; expected Genotype"):
        convert(path)
    with pytest.raises(ArchgradError, match=r"missing\.txt cannot be read: No such file"):
        convert(tmp_path / "missing.txt")
    for text in ("", "\x00", "x" * 5000, "{}"):
        with pytest.raises(ArchgradError, match="found no architecture in the text"):
            convert(text)
    with pytest.raises(ArchgradError, match=r'no file or folder "log\.txt", and published'):
        convert("log.txt")
    with pytest.raises(ArchgradError, match=r'no file or folder "DARTSV2".* mean "DARTS_V2"\?'):
        convert("DARTSV2")
    with pytest.raises(ArchgradError, match="no architecture of the form archgrad in"):
        convert(darts_log(NAMES), form="archgrad")
    with pytest.raises(ArchgradError, match="it is no Python value"):
        convert("{1, 2")


def test_more_than_a_file_should_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archgrad.conversion.reading.MOST", 2)
    with pytest.raises(ArchgradError, match="holds more than 2 architectures"):
        convert(darts_log(NAMES))
    monkeypatch.undo()
    with pytest.raises(ArchgradError, match=r'the text "Genotype.*as where a file is cut off'):
        convert("Genotype(\n" * 101)


def test_a_large_log_takes_little_more_than_its_size() -> None:
    tracemalloc.start()
    convert("epoch 1 lr 0.1\n" + "train_acc 50.0\n" * 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20


def test_one_long_line_takes_time_in_proportion() -> None:
    """Each genotype of a line, and each in a comment, once meant to look at all that is before."""
    for text in ("#" + "Genotype(" * 400_000, " " * 4_000_000 + "Genotype()" * 10_000):
        began = time.process_time()
        with suppress(ArchgradError):
            convert(text)
        assert time.process_time() - began < 8


def test_what_is_a_comment_is_no_architecture() -> None:
    kept, left = genotype("DARTS_V1"), genotype("DARTS_V2")
    for text in (f"# {left} {left}\n{kept}", f"{kept} # {left}, {left}", f"{kept}\n\n  # {left}"):
        assert [one.architecture for one in convert(text).found] == [published("DARTS_V1")], text


def test_epochs_and_names_that_are_not_there_are_told() -> None:
    found = convert("DARTS_V2")
    with pytest.raises(ArchgradError, match="without epochs, not epoch 3; leave the epoch out"):
        found.chosen(epoch=3)
    with pytest.raises(ArchgradError, match='without names, not "x"; leave the name out'):
        found.chosen(name="x")
    with pytest.raises(ArchgradError, match="DARTS_V2 has no epochs, so no table"):
        found.table()
    with pytest.raises(ArchgradError, match="has epochs 0 to 1, not epoch 2; choose one"):
        convert(darts_log(["DARTS_V1", "DARTS_V2"])).chosen(epoch=2)
