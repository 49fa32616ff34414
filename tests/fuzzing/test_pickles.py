"""The reader of pickles: what `pickle` reads of plain data, and nothing that runs or explodes."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.benchmarks import official
from archgrad.benchmarks.official import read_official
from archgrad.data.cifar import unpickled
from archgrad.errors import ArchgradError
from archgrad.storage.plain_pickle import DATA, Reader

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
scalars |= st.floats(allow_nan=False)
keys = st.text() | st.binary() | st.integers(-(2**59), 2**59) | st.tuples(st.text(), st.booleans())
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def read(content: bytes) -> Any:
    return Reader(io.BytesIO(content), DATA, "a test").load()


@given(plain, st.integers(0, 5))
@settings(derandomize=True, max_examples=150)
def test_plain_data_are_read_as_pickle_reads_them(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    assert read(content) == pickle.loads(content) == value


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("kind", [">i2", "<f4", "|b1", "u1", "<i8"])
def test_arrays_and_numbers_are_read(protocol: int, kind: str) -> None:
    array = np.arange(12).reshape(2, 2, 3).astype(kind)
    for one in (array, np.asfortranarray(array), array[1], array[:0]):
        content = pickle.dumps({"a": one, "n": one.reshape(-1)[:1].sum()}, protocol)
        found, usual = read(content), pickle.loads(content)
        assert found["a"].dtype == usual["a"].dtype and found["n"] == usual["n"]
        assert found["a"].tolist() == one.tolist() and found["a"].flags == usual["a"].flags
    assert read(pickle.dumps(OrderedDict(a={1, 2}), protocol)) == {"a": {1, 2}}


class Attack:
    """Calls a function with arguments where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def shared(levels: int) -> Any:
    """A tuple in which 2^levels stand: small as a pickle, and forever to hash."""
    value: Any = ("x",)
    for _ in range(levels):
        value = (value, value)
    return value


HASHED = pickle.dumps(shared(40), 2)[2:-1]
HOSTILE = {
    "a command": pickle.dumps(Attack(os.system, "touch canary"), 2),
    "a command, protocol 4": pickle.dumps([Attack(os.system, "touch canary")], 4),
    "a folder": pickle.dumps({"a": Attack(os.mkdir, "canary")}, 0),
    "getattr": b"c__builtin__\ngetattr\n(cos\nsystem\ntR.",
    "a chain of names": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
    "eval": b"c__builtin__\neval\n(Vopen('canary','w')\ntR.",
    "an instance": b"(ios\nsystem\n.",
    "an object": b"(cos\nsystem\nVtouch canary\no.",
    "an extension": b"\x80\x02\x82\x01.",
    "a call of data": b"Vabc\n(Vx\ntR.",
    "a new object of data": b"\x80\x02K\x01)\x81.",
    "another codec": b"c_codecs\nencode\n(Vabc\nVzlib\ntR.",
    "an array that is none": b"cnumpy\ndtype\n(VO8\nI0\nI1\ntR.",
    "an array of objects": pickle.dumps(np.array([None]), 2),
    "a type with fields": pickle.dumps(np.zeros(2, "i4,f4"), 2),
    "an array of many": pickle.dumps(np.zeros(3, np.uint8), 2).replace(
        b"K\x03\x85", b"\x8a\x06\0\0\0\0\0\x01\x85"
    ),
    "a set of lists": b"c__builtin__\nset\n((lp0\n(lp1\natR.",
    "a state of a list": b"(l(lb.",
    "a memo of gigabytes": b"\x80\x02Nr\xff\xff\xff\xffN.",
    "bytes of terabytes": b"\x80\x04\x8e\0\0\0\0\0\x01\0\0abc.",
    "text of terabytes": b"\x80\x04\x8d\0\0\0\0\0\x01\0\0abc.",
    "a byte array of terabytes": b"\x80\x05\x96\0\0\0\0\0\x01\0\0abc.",
    "a number of gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "a number of many digits": b"I" + b"9" * 10_000 + b"\n.",
    "a negative size": b"T\xff\xff\xff\xffabc.",
    "a key that hashes forever": b"\x80\x02}" + HASHED + b"Ns.",
    "a set that hashes forever": b"\x80\x04(" + HASHED + b"\x91.",
    "an ordered one": b"\x80\x02ccollections\nOrderedDict\n]" + HASHED + b"K\x01\x86a\x85R.",
    "keys of one hash": b"\x80\x02}" + b"\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns.",
    "an empty stack": b"0.",
    "no end": b"(" * 1000,
    "nothing": b"",
}  # fmt: skip
HARMLESS = {"a memo of gigabytes"}  # read as what it is, without the memory


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_within_bounds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    try:
        for data in (False, True):
            if name not in HARMLESS or not data:
                with pytest.raises(ArchgradError, match=r"x"):
                    unpickled(HOSTILE[name], "x", "data")
        (tmp_path / "x.pth").write_bytes(HOSTILE[name])
        with pytest.raises(ArchgradError):
            read_official(tmp_path / "x.pth")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_list_of_a_billion_from_a_small_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    monkeypatch.setattr(official, "_STEPS", 2**12)
    path.write_bytes(gzip.compress(b"\x80\x02](" + b"N" * 2**16, 1))
    with pytest.raises(ArchgradError, match="it holds more values than such a file has"):
        read_official(path)


def test_arguments_of_admitted_names_are_checked() -> None:
    for call in (b"(VU9\ntR.", b"(K\x01K\x02ttR.", b"(N(tR."):
        with pytest.raises(Exception):  # noqa: B017 (of any type: who reads tells it)
            read(b"cnumpy\ndtype\n" + call)
    scalar = b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n(Vf8\ntRC"
    assert read(scalar + b"\x08" + bytes(8) + b"\x86R.") == 0
    with pytest.raises(ValueError, match="of another size"):
        read(scalar + b"\x07" + bytes(7) + b"\x86R.")
