"""Files that claim more than they hold, or stand for more than they are: told in one line."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from archgrad import untrusted
from archgrad.architecture import Architecture, published
from archgrad.benchmarks.reading import read_csv
from archgrad.comparing.engine import opened
from archgrad.data.cifar import read_archive
from archgrad.data.corpus import read_text
from archgrad.data.files import npz_parts, read_folder
from archgrad.data.images import centered, class_files, read_image
from archgrad.errors import ArchgradError, shown, unknown
from archgrad.exporting.rebuilding import Sizes
from archgrad.exporting.trained import MODEL, rebuilt
from archgrad.retraining.training import WEIGHTS
from archgrad.settings import config as configuration
from archgrad.storage.files import read_lines
from archgrad.storage.folder import environments, load_checkpoint
from fuzz_targets import GROUPS, light

CPU = torch.device("cpu")
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n"
    for a, b in zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw")
)


def refused(read: Callable[[], object], match: str) -> None:
    """In one line, and below 64 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises(ArchgradError, match=match) as found:
            read()
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LAUGHS, "stand for more than 200,000 values"),
        (MERGES, "stand for more than 200,000 values"),
        ("a: &a [*a]", "holds itself"),
        ("- " * 1000, "more than 64 levels"),
        ("[" * 70 + "]" * 70, "more than 64 levels"),
        ("a: 2026-99-99", "month"),
        ("!!python/object/apply:os.mkdir [canary]", "could not determine a constructor"),
        ("x: " + "9" * 5000, "digits"),
        ("a: " + "x" * 2**20, "1 MiB|characters"),
        ("? [a]\n: b", "unhashable"),
        ("\x00", "special characters"),
    ],
)
def test_yaml(text: str, match: str, tmp_path: Path) -> None:
    for name, read in (("config.yaml", configuration.load), ("comparison.yaml", opened)):
        (tmp_path / name).write_text(text)
        place: Any = tmp_path if read is opened else tmp_path / name
        with pytest.raises(ArchgradError, match=f"{name}.*({match})"):
            read(place)
    assert not Path("canary").exists()


def test_yaml_with_a_few_aliases_is_read() -> None:
    assert untrusted.from_yaml("a: &a [1]\nb: *a\nc: {<<: {d: 1}}") == {
        "a": [1], "b": [1], "c": {"d": 1},
    }  # fmt: skip
    assert untrusted.from_yaml("") is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 70 + "]" * 70, "9" * 5000, '"\\ud800"', '{"a": "\\uDFFF"}']
)
def test_json(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        untrusted.from_json(text)
    (tmp_path / "m.jsonl").write_text(text + "\n")
    refused(lambda: read_lines(tmp_path / "m.jsonl"), "is damaged")
    refused(lambda: Architecture.from_json(text), "architecture: ")
    (tmp_path / "environment.json").write_text(text)
    assert environments(tmp_path) == []
    assert untrusted.from_json('"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"


def test_large_and_special_files_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**33)
    refused(lambda: Architecture.load(tmp_path / "a.json"), "8,192 MiB, more than the 16 MiB")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: Architecture.load(tmp_path / "pipe"), "is no regular file")
    with (tmp_path / "l.jsonl").open("wb") as file:
        file.truncate(2**33)
    refused(lambda: read_lines(tmp_path / "l.jsonl"), "8,192 MiB")


def test_messages_stay_short() -> None:
    nested: Any = ["x"]
    for _ in range(60):
        nested = [nested, nested]
    assert len(shown(nested)) <= 60 and shown(10**9999) == "a int of many digits"
    assert len(str(unknown("cell", "x" * 2**20, ["a"]))) < 200


def checkpoint(change: Callable[[str, bytes], bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint with an entry changed."""
    held, made = io.BytesIO(), io.BytesIO()
    torch.save({"format": "archgrad-checkpoint/1", "w": torch.arange(4.0)}, held)
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(made, "w", packed) as new:
        for name in old.namelist():
            new.writestr(name, change(name.rpartition("/")[2], old.read(name)))
    return made.getvalue()


def test_checkpoints_that_claim_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(checkpoint(lambda name, content: content))
    found = load_checkpoint(tmp_path, CPU)
    assert found is not None and found["w"].tolist() == [0, 1, 2, 3]
    many = b"K\x04tq", b"\x8a\x06\0\0\0\0\0\x01tq"
    claims = {
        "of 4398046511104 bytes in 16": checkpoint(lambda n, c: c.replace(*many)),
        "of 16 bytes in 8": checkpoint(lambda n, c: c[:8] if n == "0" else c),
        "is compressed": checkpoint(lambda n, c: c, zipfile.ZIP_DEFLATED),
        "is no zip file": torch_before_1_6(),
        "asks for posix": checkpoint(lambda n, c: b"cposix\nsystem\n(Vtouch canary\ntR."),
        "asks for builtins": checkpoint(lambda n, c: b"cbuiltins\nbytearray\n(J\0\0\0\x7ftR."),
        "found a list": checkpoint(lambda n, c: b"]." if n == "data.pkl" else c),
    }
    for match, content in claims.items():
        path.write_bytes(content)
        refused(lambda: load_checkpoint(tmp_path, CPU), f"last.pt cannot be read .*{match}")


def torch_before_1_6() -> bytes:
    held = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, held, _use_new_zipfile_serialization=False)
    return held.getvalue()


def npz(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return held.getvalue()


def npy(shape: tuple[int, ...], size: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue() + bytes(size)


def test_npz_files_that_claim_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz(x=npy((2**40,), 8), y=npy((1,), 1)))
    refused(lambda: npz_parts(path), r"uint8 \(1099511627776,\) in 8 bytes")
    path.write_bytes(npz(x=npy((-1,), 8)))
    refused(lambda: npz_parts(path), "in 8 bytes")
    content = npz(x=npy((8,), 8))
    place = content.rindex(b"PK\x01\x02") + 24  # the size unpacked, in the directory
    path.write_bytes(content[:place] + struct.pack("<I", 2**32 - 2) + content[place + 4 :])
    refused(lambda: npz_parts(path), "100 times its size")


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_images_of_absurd_dimensions_are_not_decoded(tmp_path: Path) -> None:
    path, read = tmp_path / "a.png", partial(centered, side=8)
    for width, height in ((8193, 8193), (2**31 - 1, 2**31 - 1), (1, 2**26), (101, 1)):
        path.write_bytes(png(width, height))
        refused(lambda: read_image(path, read), "ratio above 100|exceeds limit|cannot be read")
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    refused(lambda: read_image(path, read), "cannot identify")  # its reader would start another


@pytest.mark.parametrize("special", ["pipe", "endless"])
def test_special_files_among_images_are_refused(tmp_path: Path, special: str) -> None:
    (tmp_path / "a").mkdir()
    if special == "pipe":
        os.mkfifo(tmp_path / "a" / special)
    else:
        (tmp_path / "a" / special).symlink_to("/dev/zero")
    refused(lambda: read_folder(tmp_path, 8), f"{special} is a pipe, a socket or a device")


def test_links_among_images(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "lost").symlink_to(tmp_path / "nowhere")
    refused(lambda: read_folder(tmp_path, 8), "is empty")
    (tmp_path / "a" / "text.png").symlink_to(Path(__file__))
    assert class_files(tmp_path) == {"a": ["text.png"]}
    refused(lambda: read_folder(tmp_path, 8), "text.png cannot be read as an image")


def tar(*members: tuple[str, int, dict[str, Any]]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, size, fields in members:
            info = tarfile.TarInfo(name)
            vars_of = {"size": 0, **fields}
            for field, value in vars_of.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(bytes(size)) if size else None)
    return gzip.compress(held.getvalue(), 1)


def test_archives_write_nothing_and_claim_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "c.tar.gz"
    outside = str(tmp_path / "outside")
    path.write_bytes(tar(("../../batch", 4, {"size": 4}), (outside, 4, {"size": 4})))
    assert read_archive(path, ("batch",)) == {f"{path}:batch": bytes(4)}
    path.write_bytes(tar(("batch", 0, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})))
    refused(lambda: read_archive(path, ("batch",)), "holds no batch")
    path.write_bytes(tar(("batch", 0, {"size": 2**40})))
    refused(lambda: read_archive(path, ("batch",)), "says that it has 1,099,511,627,776 bytes")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c.tar.gz", "in"]


def test_what_unpacks_to_much_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "UNPACKED", 2**20)
    for name, read in {
        "t.csv.gz": partial(read_csv, partial=True), "t.gz": read_text,
        "t.tar.gz": lambda path: read_archive(path, ("a",)),
    }.items():  # fmt: skip
        path = tmp_path / name
        content = b"arch,c10_test\n" if "csv" in name else bytes(512)
        path.write_bytes(gzip.compress(content + bytes(2**22)))
        refused(
            lambda read=read, path=path: read(path), "100 times its size|no a;|line contains NUL"
        )


EXPORTS = {target.name: target.files for target in light() if target.name.startswith("exports")}
groups_and_alpha = next(target for target in light() if target.name == "groups and alpha")
NESTED: Any = "[" * 60 + "]" * 60


@pytest.mark.parametrize("form", EXPORTS)
@pytest.mark.parametrize(
    ("value", "match"),
    [
        (2**20, "of shape|cells or nodes for weights of|does not fit|below one pixel"),
        (2**31, "less than 2147483648"),
        (10**30, "integer|less than 2147483648"),
        (-1, "greater than or equal to 0"),
        (0, "expected"),
        (float("nan"), "field .*found"),
        (2.5, "field .*found 2.5"),
        (True, "field .*found True"),
        ("8", "field .*found '8'"),
        (None, "field .*found None"),
        (json.loads(NESTED), "field .*found"),
    ],
)
def test_exports_of_other_sizes_than_their_weights(
    form: str, value: Any, match: str, tmp_path: Path
) -> None:
    for name, (content,) in EXPORTS[form].items():
        (tmp_path / name).write_bytes(content)
    rebuilt(tmp_path)
    description = json.loads((tmp_path / MODEL).read_text())
    numbers = [name for name, found in description["sizes"].items() if type(found) is int]
    assert len(numbers) >= 3
    for name in numbers:
        changed = {**description, "sizes": {**description["sizes"], name: value}}
        (tmp_path / MODEL).write_text(json.dumps(changed))
        refused(lambda: rebuilt(tmp_path), match)


def test_weights_that_claim_as_many_cells_as_their_names_say(tmp_path: Path) -> None:
    weights = load(EXPORTS["exports, darts-cnn"][WEIGHTS][0])
    weights["cells.999999999.x"] = torch.zeros(1)
    sizes = Sizes.of(weights, (8, 8))
    assert sizes is not None and sizes.cells == 10**9
    with pytest.raises(ValueError, match="found 1000000000 cells or nodes for weights of"):
        sizes.network(published("DARTS_V2"), weights)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("inputs", 2**40, "fit no cell"),
        ("inputs", True, "field 0.inputs: found True"),
        ("edges", [[0, 2], [1, 2**40]], "fit no cell"),
        ("edges", [[0, 2]], "fit no cell"),
        ("edges", [[-1, 2], [1, 2]], "fit no cell"),
        ("edges", 7, "field 0.edges: found 7"),
        ("candidates", [["a"], ["b", "c"]], "fit no cell"),
        ("candidates", [[], []], "fit no cell"),
        ("candidates", [["a", {}]] * 2, "field 0.candidates.0.1: found {}"),
        ("edges_per_node", "2", "found '2'"),
        ("output", [2**40], "output|fit"),
    ],
)
def test_groups_of_another_form(name: str, value: Any, match: str, tmp_path: Path) -> None:
    groups = {**GROUPS["groups"][0], name: value}  # type: ignore[dict-item]
    (tmp_path / "groups.json").write_text(json.dumps({**GROUPS, "groups": [groups]}))
    refused(lambda: groups_and_alpha.read(tmp_path), match)


def test_alpha_of_another_form(tmp_path: Path) -> None:
    for line in ({"alpha": {"n": 2**70}}, {"alpha": []}, {"alpha": {"n": [[0, {}]]}}, {}):
        (tmp_path / "alphas.jsonl").write_text(json.dumps({"epoch": 1, **line}) + "\n")
        refused(lambda: groups_and_alpha.read(tmp_path), "alphas.jsonl does not fit")
