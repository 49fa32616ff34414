"""Files of text: how they are found, read, cut into tokens and numbered, and every error."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archgrad.data import Data, TextSource, as_data, corpus, load, text_data
from archgrad.data.corpus import EOS, UNKNOWN, check_vocabulary, numbered, read_text, tokens
from archgrad.errors import ArchgradError
from archgrad.preparing.prepared import prepare_data
from archgrad.retraining.scratch import load_data
from archgrad.settings.data_config import DataConfig

TRAIN, VALID, TEST = "b a b\nc a\n", "a c\n", "b b\n"


def words(data: Data, part: str = "train") -> list[str]:
    source = getattr(data, part)
    assert isinstance(source, TextSource)
    return [data.classes[token] for token in source.tokens]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        (tmp_path / f"my.{name}.txt").write_text(text)
    return tmp_path


def test_a_folder_becomes_three_texts(folder: Path) -> None:
    data = load(f"text:{folder}")
    assert data.classes == ("b", "a", EOS, "c")  # by first appearance
    assert words(data) == ["b", "a", "b", EOS, "c", "a", EOS]
    assert words(data, "valid") == ["a", "c", EOS]
    assert words(data, "test") == ["b", "b", EOS]
    assert data.split() == (data.train, data.valid)
    assert as_data(data) is data
    assert words(as_data(f"text:{folder}", subset=3)) == ["b", "a", "b"]


def test_characters_have_line_breaks(folder: Path) -> None:
    data = load(f"text:{folder}", level="character")
    assert "".join(words(data)) == TRAIN
    assert data.classes == ("b", " ", "a", "\n", "c")


def test_unknown_words_become_one_token_where_there_are_any(folder: Path) -> None:
    (folder / "my.valid.txt").write_text("a new c\nword\n")
    data = load(f"text:{folder}")
    assert data.classes == ("b", "a", EOS, "c", UNKNOWN)
    assert words(data, "valid") == ["a", UNKNOWN, "c", EOS, UNKNOWN, EOS]
    (folder / "my.train.txt").write_text("b <unk> a c\n")
    assert load(f"text:{folder}").classes == ("b", UNKNOWN, "a", "c", EOS)  # the text's own
    assert load(f"text:{folder}", level="character").classes[-1] == UNKNOWN


def test_the_vocabulary_is_that_of_the_subset(folder: Path) -> None:
    data = load(f"text:{folder}", subset=2)
    assert data.classes == ("b", "a", UNKNOWN)
    assert words(data, "valid") == ["a", UNKNOWN, UNKNOWN]


def test_a_limit_keeps_the_most_frequent_tokens_in_order() -> None:
    kept, (first, other) = numbered("xyyzzzyw", ["zzxq"], 2)
    assert kept == ("y", "z", UNKNOWN)
    assert first.tolist() == [2, 0, 0, 1, 1, 1, 0, 2]
    assert other.tolist() == [1, 1, 2, 2]
    once, twice = [f"once{n}" for n in range(300)], [f"twice{n}" for n in range(300)]
    assert numbered([*once, *twice, *twice], most=310)[0] == (*once[:10], *twice, UNKNOWN)
    assert numbered("ab", ["b"], 2)[0] == ("a", "b")  # nothing is cut off


def test_lines_end_alike_on_every_system(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffa b\r\nc\rd\n\ne".encode())
    text = read_text(path)
    assert text == "a b\nc\nd\n\ne"
    assert list(tokens(text, "word")) == ["a", "b", EOS, "c", EOS, "d", EOS, EOS, "e", EOS]


@pytest.mark.parametrize("name", ["t.xz", "t.txt.XZ", "t.tokens.gz", "t.txt", "t.tokens"])
def test_files_may_be_packed(name: str, tmp_path: Path) -> None:
    pack = {"z": gzip.compress, "Z": lzma.compress}.get(name[-1], bytes)
    data = lzma.compress(b"a b") if name.endswith("xz") else pack(b"a b")
    (tmp_path / name).write_bytes(data)
    assert read_text(tmp_path / name) == "a b"


def test_files_are_found_by_their_names(tmp_path: Path) -> None:
    for name, text in (("latest-training.tokens", TRAIN), ("Dev.txt", VALID), ("x_TEST.txt", TEST)):
        (tmp_path / name).write_text(text)
    (tmp_path / "Dev.txt.xz").write_bytes(b"the unpacked one is taken")
    (tmp_path / "README.md").write_text("no text file by its ending")
    assert words(load(f"text:{tmp_path}"), "valid") == ["a", "c", EOS]
    (tmp_path / "validation.txt").write_text(VALID)
    with pytest.raises(ArchgradError, match="holds 2 files of the part valid") as caught:
        load(f"text:{tmp_path}")
    assert "text:TRAIN,VALID,TEST" in str(caught.value)


def test_a_single_file_is_cut_by_lines(tmp_path: Path) -> None:
    lines = [f"word{n} of {n}" for n in range(20)]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    for data in (load(f"text:{tmp_path}"), load("text:all.txt", tmp_path)):
        assert data.test is not None
        assert data.valid is not None
        assert (len(data.train), len(data.valid), len(data.test)) == (16 * 4, 2 * 4, 2 * 4)
    assert words(text_data(tmp_path / "all.txt"))[:4] == ["word0", "of", "0", EOS]
    (tmp_path / "all.txt").write_text("\n".join(lines[:9]))
    with pytest.raises(ArchgradError, match="has 9 lines; expected 10 or more"):
        load(f"text:{tmp_path}")


def test_three_files_with_commas_between(folder: Path) -> None:
    data = load("text:my.valid.txt, my.train.txt,my.test.txt", folder)
    assert words(data) == ["a", "c", EOS]
    cases = {
        "my.train.txt,my.valid.txt": "names 2 files; expected three",
        "my.train.txt,my.valid.txt,none.txt": "none.txt is missing; expected a text file",
        "my.test.txt,my.test.txt,my.train.txt": "expected three different ones",
        "nowhere": "nowhere is missing",
    }
    for names, message in cases.items():
        with pytest.raises(ArchgradError, match=message):
            load(f"text:{names}", folder)


def test_folders_without_what_is_needed(folder: Path) -> None:
    (folder / "my.test.txt").unlink()
    with pytest.raises(ArchgradError, match="holds 0 files of the part test .found my.train.txt"):
        load(f"text:{folder}")
    (folder / "empty").mkdir()
    with pytest.raises(ArchgradError, match="holds no text file; expected files that end in .txt"):
        load("text:empty", folder)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "holds no text"),
        (b" \n\n", {}, "holds no text"),
        (b"caf\xe9 au lait", {}, "is not utf-8: byte 3 is 0xe9 .*give its encoding, such as enc"),
        (b"\x89PNG\x00\x00", {}, "holds zero bytes and is no text in utf-8"),
        (b"a\x00b", {"encoding": "latin-1"}, "holds zero bytes and is no text in latin-1"),
        ("a b".encode("utf-16"), {}, "encoding=utf-16"),
        (b"a b", {"encoding": "utf-99"}, "encoding is 'utf-99'.*unknown encoding"),
        (b"a b", {"encoding": "rot13"}, "encoding is 'rot13'.*not a text encoding"),
        (b"one\ntwo\n", {}, "no white space within any of 2 lines.*give level=character"),
        (b"a b", {"level": "word"}, None),
        ("caf\xe9 au lait".encode("latin-1"), {"encoding": "latin-1"}, None),
        ("a b".encode("utf-16"), {"encoding": "utf-16"}, None),
        (b"one\ntwo\n", {"level": "character"}, None),
    ],
)
def test_contents_of_a_file(
    content: bytes, options: Any, message: str | None, folder: Path
) -> None:
    (folder / "my.train.txt").write_bytes(content)
    if options.get("encoding") == "utf-16":
        for part in ("valid", "test"):
            (folder / f"my.{part}.txt").write_text("a b", encoding="utf-16")
    if message is None:
        assert len(load(f"text:{folder}", **options).train) >= 3
        return
    with pytest.raises(ArchgradError, match=message):
        load(f"text:{folder}", **options)


def test_a_broken_packed_file_is_told(folder: Path) -> None:
    for name, data in (("t.xz", lzma.compress(b"a b")[:-9]), ("t.gz", b"no gzip")):
        (folder / name).write_bytes(data)
        with pytest.raises(ArchgradError, match=f"{name} cannot be read"):
            read_text(folder / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, "image_size is 8 for text:.*, which is text; expected images"),
        ({"dims": 1}, "dims is 1 for text"),
        ({"stream": "off"}, "stream is off"),
        ({"workers": 2}, "workers is 2"),
        ({"level": "letters"}, 'level "letters" is not known'),
        ({"vocabulary": 0}, "vocabulary is 0; expected 1 or more"),
        ({"vocabulary": 2.5}, "vocabulary is 2.5; expected a whole number"),
        ({"subset": 8}, r"subset is 8; expected 1..7, as the training text has 7 tokens"),
    ],
)
def test_options_that_do_not_fit_text(options: Any, message: str, folder: Path) -> None:
    with pytest.raises(ArchgradError, match=message):
        load(f"text:{folder}", **options)


@pytest.mark.parametrize(
    "option", [{"level": "character"}, {"vocabulary": 5}, {"encoding": "ascii"}]
)
def test_options_of_text_are_refused_with_images(option: Any) -> None:
    name = next(iter(option))
    for call in (lambda: load("digits", **option), lambda: as_data("digits", **option)):
        with pytest.raises(ArchgradError, match=f"{name} is .* for digits, which is images"):
            call()
    arrays = np.zeros((4, 8, 8), np.float32), np.arange(4) % 2
    for value in (arrays, text_data(list("abc"), list("abc"))):
        with pytest.raises(ArchgradError, match=f"{name} is .* expected the name of a text"):
            prepare_data(DataConfig(data="own", **option), value)


def test_a_configuration_reaches_the_text(folder: Path) -> None:
    config = DataConfig(data=f"text:{folder}", level="character", vocabulary=2, subset=9)
    data, augmentation = load_data(config)
    assert data.classes == ("b", " ", UNKNOWN)
    assert len(data.train) == 9
    assert augmentation == data.augmentation
    for option in ("flip", "resized_crop"):
        with pytest.raises(ArchgradError, match=f"{option} is given for text:.*which is text"):
            load_data(config.model_copy(update={option: False}))
    with pytest.raises(ArchgradError, match="encoding is 'no'"):
        load_data(config.model_copy(update={"encoding": "no"}))


def test_dims_of_a_text_from_python_cannot_be_chosen() -> None:
    with pytest.raises(ArchgradError, match="dims is 3 for text, which is text"):
        as_data(text_data(list("abc"), list("abc")), dims=3)


def test_tokens_from_python(folder: Path) -> None:
    data = text_data([5, 7, 5], np.array([7, 9]), torch.tensor([5]))
    assert data.classes == ("5", "7", UNKNOWN)
    assert words(data, "valid") == ["7", UNKNOWN]
    mixed = text_data(folder / "my.train.txt", ["a"], vocabulary=1)
    assert mixed.test is None
    assert mixed.classes == ("b", UNKNOWN)  # b, a and <eos> are there twice


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ((["a"],), {}, "valid is None"),
        (("x.txt", None, "y.txt"), {}, "valid is None"),
        ((["a"], ["b"]), {"level": "character"}, "level character and encoding utf-8 were given"),
        ((["a"], []), {}, "valid is a list; expected the path"),
        ((["a"], 3), {}, "valid is a int; expected the path"),
        (([["a"]], ["b"]), {}, r"train holds \['a'\], a list; expected a flat list"),
        (("no such file", ["b"]), {}, "no such file is missing"),
    ],
)
def test_wrong_parts_from_python(parts: Any, options: Any, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        text_data(*parts, **options)


def test_a_vocabulary_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "available_mb", lambda device: 100.0)
    check_vocabulary(10_000, 625, torch.device("cpu"))  # 4 copies of 25 MB
    with pytest.raises(ArchgradError, match=r"10,001 tokens at hidden 625 .*the 100 MB of cpu"):
        check_vocabulary(10_001, 625, torch.device("cpu"))
    monkeypatch.setattr(corpus, "available_mb", lambda device: None)
    check_vocabulary(10**9, 10**6, torch.device("cpu"))  # not known: nothing is refused


def test_the_penn_treebank(real_data: Path) -> None:
    if not (real_data / "ptb").is_dir():
        pytest.skip(f"{real_data} holds no folder ptb")
    data = load("ptb", real_data)
    assert data.valid is not None
    assert data.test is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (929_589, 73_760, 82_430)
    assert len(data.classes) == 10_000
    assert UNKNOWN in data.classes
    assert EOS in data.classes
    assert load("ptb", real_data / "ptb", subset=1000).train.tokens.equal(data.train.tokens[:1000])  # type: ignore[attr-defined]


def test_ptb_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"ptb needs root \(data_root\)"):
        load("ptb")
    (tmp_path / "ptb.train.txt").write_text(TRAIN)
    with pytest.raises(ArchgradError, match=r"holds no ptb.valid.txt, neither there nor in ptb/"):
        load("ptb", tmp_path)
    (tmp_path / "ptb").mkdir()
    for part in ("valid", "test"):
        (tmp_path / "ptb" / f"ptb.{part}.txt.gz").write_bytes(gzip.compress(VALID.encode()))
    assert words(load("ptb", tmp_path), "test") == ["a", "c", EOS]
