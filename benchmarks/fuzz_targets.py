"""What is fuzzed: every reader of a file that a user may be given, with valid files to begin from.

The canary: pickles and YAML among them ask for a folder to be made, which nothing may do.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save

import fuzz_others
from archgrad import published, untrusted
from archgrad.architecture import Architecture, resolve
from archgrad.baselines import searching
from archgrad.benchmarks import convert
from archgrad.benchmarks.numbering import string
from archgrad.benchmarks.official import read_official
from archgrad.benchmarks.reading import read_csv, read_json
from archgrad.cli.main import main
from archgrad.comparing.engine import opened
from archgrad.comparing.jobs import Job
from archgrad.costing.costs import CostTable
from archgrad.data.cifar import decode_python, read_archive, read_cifar10
from archgrad.data.cifar100 import read_cifar100
from archgrad.data.corpus import read_text, tokens
from archgrad.data.files import npz_parts, read_folder
from archgrad.data.images import centered, read_image, squeezed
from archgrad.errors import ArchgradError
from archgrad.exporting.rebuilding import Sizes, TextSizes
from archgrad.exporting.trained import MODEL, of_folder, rebuilt
from archgrad.findings.results import Results
from archgrad.methods import method
from archgrad.reporting.document import document
from archgrad.retraining import transfer
from archgrad.retraining.training import WEIGHTS
from archgrad.settings import config as configuration
from archgrad.settings.config import SearchConfig
from archgrad.spaces.nas_bench_201 import from_string
from archgrad.storage.files import ALPHAS, read_lines
from archgrad.storage.files import GROUPS as GROUPS_FILE
from archgrad.storage.folder import Run, environments, load_checkpoint
from archgrad.verbs.deriving import derive

COMPARED = Path(__file__).parent / "results" / "compare-digits"
CPU = torch.device("cpu")
CANARY = Path(os.environ.get("ARCHGRAD_FUZZ_CANARY", "archgrad-fuzz-canary"))


class Target(NamedTuple):
    """``read``: a folder in which one of ``files`` holds something else than here.

    ``files``: by name, valid contents. ``beside``: a folder whose files are there as well.
    """

    name: str
    read: Callable[[Path], object]
    files: Mapping[str, Sequence[bytes]]
    beside: Path | None = None


class Canary:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(CANARY),)


def targets(run: Path) -> Iterator[Target]:
    """All of them; ``run``: the folder of a main job, from which valid files are taken."""
    yield from _texts(run)
    yield from _arrays(run)
    yield from _folders(run)


def light() -> Iterator[Target]:
    """Those whose valid files need no run."""
    yield from (target for target in (*_texts(None), *_arrays(None)))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


CELL = string(3127)
GROUPS = {
    "format": "archgrad-groups/1", "space": "s", "groups": [
        {"name": "n", "inputs": 2, "edges": [[0, 2], [1, 2]], "candidates": [["a", "b"]] * 2,
         "edges_per_node": 2, "keep_none": False, "output": [2], "picks": 1}],
}  # fmt: skip
COSTS = {
    "format": "archgrad-cost-table/1", "kind": "latency", "space": "s", "error": 0.1,
    "edges": {"n": [[0, 2], [1, 2]]}, "fixed": 0.5, "about": {"batch": 1}, "places": [
        {"place": "c", "group": "n", "edge": 0, "shape": [1, 2, 3], "costs": {"a": 1.0}}],
}  # fmt: skip
LINES = [{"epoch": 1, "seconds": 0.5, "spent": 7, "alpha": {"n": [[0.1, 0.2]] * 2}}, {"epoch": 2}]
YAML_CANARY = f"!!python/object/apply:os.mkdir ['{CANARY}']\n".encode()


def _texts(run: Path | None) -> Iterator[Target]:
    kept = _kept(run)
    architecture = published("DARTS_V2").to_json().encode()
    yield Target(
        "architecture JSON", lambda f: str(Architecture.load(f / "a.json")),
        {"a.json": [architecture, architecture[:-9]]},
    )  # fmt: skip
    yield Target("architecture strings", _strings, {"a.txt": [CELL.encode(), b"DARTS_V2"]})
    yield Target(
        "files of other tools", fuzz_others.read, {"log.txt": fuzz_others.contents(CELL, CANARY)}
    )
    config = (
        kept.get("config.yaml") or b"data: {data: digits}\nsearch: {epochs: 2, method: darts}\n"
    )
    bomb = b"a: &a [x, x, x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c]\n" % (
        c + 1, c + 1, c, c, c) for c in range(97, 117))  # fmt: skip
    yield Target(
        "config.yaml", lambda f: configuration.load(f / "c.yaml").to_yaml(),
        {"c.yaml": [config, YAML_CANARY, bomb, b"a: &a {x: 1}\nb: {<<: [*a, *a]}\n"]},
    )  # fmt: skip
    comparison = (COMPARED / "comparison.yaml").read_bytes()
    yield Target("comparison.yaml", opened, {"comparison.yaml": [comparison, config, bomb]})
    lines = b"".join(_json(line) + b"\n" for line in LINES)
    found = [kept[n] for n in ("metrics.jsonl", "alphas.jsonl") if n in kept]
    yield Target(
        "jsonl lines", lambda f: read_lines(f / "l.jsonl", 9), {"l.jsonl": [lines, *found]}
    )
    yield Target(
        "environment.json", environments,
        {"environment.json": [kept.get("environment.json", b'[{"process": 7}]')]},
    )  # fmt: skip
    decided = {GROUPS_FILE: _json(GROUPS), ALPHAS: lines}
    yield Target("groups and alpha", partial(_derived, decided), {n: [decided[n]] for n in decided})
    yield Target(
        "job.json", lambda f: Job.begun_with.fget(SimpleNamespace(folder=f)),  # type: ignore[attr-defined]
        {"job.json": [b'{"options": {"a": 1}, "conditions": {"data": "x"}}']},
    )  # fmt: skip
    yield Target(
        "begun_with.json", lambda f: searching._kept(SimpleNamespace(path=f), {"a": 1}),  # type: ignore[arg-type]
        {"begun_with.json": [b'{"a": 1}']},
    )  # fmt: skip
    yield Target("classes.json", lambda f: transfer._kept(f / "c"), {"c": [b'["a", "b"]']})
    yield Target("latency table", lambda f: CostTable.load(f / "t"), {"t": [_json(COSTS)]})
    results = json.loads((COMPARED / "results.json").read_bytes())
    results["entries"] = [{**one, "curve": one["curve"][:2]} for one in results["entries"][:2]]
    yield Target("results.json", lambda f: Results.load(f / "r"), {"r": [_json(results)]})
    csv = f"arch,c10_test,c10_params_M\n{CELL},90.5,1.5\n{string(7)},80,2\n".encode()
    yield Target(
        "table, CSV", lambda f: read_csv(f / "t.csv", partial=True),
        {"t.csv": [csv, gzip.compress(csv), bz2.compress(csv)]},
    )  # fmt: skip
    rows = [{"arch": CELL, "c10_test": 90.5}, {"arch": string(7), "c10_test": 80}]
    yield Target("table, JSON", lambda f: read_json(f / "t.json", partial=True), {"t.json": [
        _json(rows), _json({row["arch"]: {"c10_test": 1} for row in rows})]})  # fmt: skip
    words = "one two three\n\nfour\u00e9 five\n".encode()
    yield Target("text files", _read_texts, {
        "t.txt": [words, words.decode().encode("utf-16")],
        "t.gz": [gzip.compress(words)]})  # fmt: skip


def _arrays(run: Path | None) -> Iterator[Target]:
    images, labels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072), [0, 1]
    batch = {b"data": images, b"labels": labels, b"bad": Canary()}
    good = {b"data": images, b"labels": labels, b"x": OrderedDict()}
    batches = [pickle.dumps(value, p) for p in (0, 2, 4) for value in (batch, good)]
    batches += [pickle.dumps({b"data": images, b"labels": labels}, p) for p in (0, 2, 4)]
    yield Target(
        "CIFAR pickles", lambda f: decode_python(untrusted.content(f / "b"), "b"), {"b": batches}
    )
    names = ("data_batch_1", "test_batch")
    packed = _tar({name: batches[-1] for name in names})
    yield Target("CIFAR archives", partial(_archive, names=names), {"c.tar.gz": [packed]})
    whole = {f"cifar-10-batches-bin/{n}.bin": bytes(2 * 3073) for n in (
        *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")}  # fmt: skip
    fine = pickle.dumps({b"data": images, b"fine_labels": labels}, 2)
    meta = pickle.dumps({b"fine_label_names": [b"%d" % n for n in range(100)]}, 2)
    hundred = _tar({"train": fine, "test": fine, "meta": meta})
    yield Target("CIFAR folders", _cifar, {
        "cifar-10-binary.tar.gz": [_tar(whole)], "cifar-100-python.tar.gz": [hundred]})  # fmt: skip
    arrays = {"x": np.zeros((4, 8, 8), np.uint8), "y": np.array([0, 1, 0, 1])}
    more = {"x_test": arrays["x"], "y_test": arrays["y"], "classes": np.array(["a", "b"])}
    yield Target(
        "npz files", lambda f: npz_parts(f / "a.npz"),
        {"a.npz": [_npz(arrays), _npz({**arrays, **more}), _npz({"x": np.array([Canary()])})]},
    )  # fmt: skip
    yield Target("image files", _image, {"a.png": _images()})
    yield Target("image folders", _image_folder, {
        f"{part}/{name}/0": _images()[:4]
        for part in ("train", "test") for name in "ab"})  # fmt: skip
    training = {"epochs": 1, "params": 0.5, "flop": 1.0, "latency": [0.1], "eval_acc1es": {
        "x-valid@0": 50.0, "ori-test@0": np.float64(60)}}  # fmt: skip
    length = {"all_results": {("cifar10-valid", 777): training, ("cifar10", 1): training}}
    official = {"meta_archs": [CELL], "arch2infos": {0: {"less": length, "full": length}}}
    files = [pickle.dumps({**official, "bad": bad}, 4) for bad in (None, Canary())]
    files += [_saved(official, zipped) for zipped in (True, False)]
    yield Target("table, official", partial(_official, read_official), {
        "t.pth": [*files, gzip.compress(files[0])]})  # fmt: skip
    yield Target("table, converted", partial(_official, _converted), {"t.pth": files})
    weights = {"a": torch.arange(6.0), "b": torch.zeros(2, 3, dtype=torch.bfloat16)}
    checkpoint = {"format": "archgrad-checkpoint/1", "model": weights, "o": {0: (1, None)}}
    saved = [_saved(value, zipped) for value in (checkpoint, {**checkpoint, "bad": Canary()})
             for zipped in (True, False)]  # fmt: skip
    last = [] if run is None else [(run / "checkpoints" / "last.pt").read_bytes()]
    yield Target("checkpoints", lambda f: load_checkpoint(f, CPU), {"last.pt": [*saved, *last]})
    for sizes, space, architecture in _networks():
        files = {MODEL: _json({"architecture": json.loads(architecture.to_json()),
                               "sizes": asdict(sizes)}),
                 WEIGHTS: _weights(space.derive(architecture))}  # fmt: skip
        yield Target(
            f"exports, {sizes.form}", partial(_rebuilt, files), {n: [c] for n, c in files.items()}
        )


def _folders(run: Path) -> Iterator[Target]:
    """Whole run folders in which one file is bad."""
    kept = {str(path.relative_to(run)): [path.read_bytes()] for path in sorted(run.rglob("*"))
            if path.is_file() and path.suffix in (".yaml", ".json", ".jsonl", ".txt")}  # fmt: skip
    yield Target("report's readers", _document, kept, run)
    trained = [n for n in kept if n in ("config.yaml", "architecture.json")]
    trained += [n for n in kept if n.startswith("train/found/")]
    weights = {
        str(p.relative_to(run)): [p.read_bytes()] for p in run.glob("train/found/*/*.safetensors")
    }
    yield Target(
        "trained networks",
        lambda f: of_folder(f),
        {**{n: kept[n] for n in trained}, **weights},
        run,
    )
    for verb in ("report", "derive", "export"):
        yield Target(f"command line, {verb}", partial(_command, verb), {**kept, **weights}, run)


def _kept(run: Path | None) -> dict[str, bytes]:
    return {} if run is None else {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}


def _strings(folder: Path) -> None:
    text = (folder / "a.txt").read_bytes().decode(errors="surrogateescape")
    for read in (resolve, from_string):
        try:
            read(text)
        except ArchgradError:
            continue


def _read_texts(folder: Path) -> None:
    path = next(folder.iterdir())
    for encoding in ("utf-8", "utf-16", "latin-1"):
        for level in ("word", "character"):
            try:
                list(tokens(read_text(path, encoding), level))
            except ArchgradError:
                continue


def _archive(folder: Path, names: tuple[str, ...]) -> None:
    for name, content in read_archive(folder / "c.tar.gz", names).items():
        decode_python(content, name)


def _cifar(folder: Path) -> None:
    (read_cifar10 if (folder / "cifar-10-binary.tar.gz").exists() else read_cifar100)(folder)


def _image(folder: Path) -> None:
    for treat in (partial(squeezed, side=8), partial(centered, side=8)):
        read_image(folder / "a.png", treat)


def _image_folder(folder: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            if not (place := folder / part / name / "1").exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(_images()[0])
    read_folder(folder, 8)


def _official(read: Callable[..., object], folder: Path) -> None:
    read(folder / "t.pth", partial=True)


def _converted(path: Path, partial: bool) -> None:
    out = path.with_name("out.csv")
    out.unlink(missing_ok=True)
    convert(path, out, partial=partial)


def _document(folder: Path) -> None:
    json.dumps(document([folder]), ensure_ascii=False).encode()


def _command(verb: str, folder: Path) -> None:
    """As a user would type it; status 0, 1 or 2 is an answer, any other exception a traceback."""
    arguments = {
        "report": ["report", str(folder)],
        "derive": ["derive", str(folder)],
        "export": ["export", str(folder), "--format", "safetensors", "--out", str(folder / "out")],
    }[verb]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as ending:
            if ending.code not in (None, 0, 1, 2):
                raise


def _tar(files: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def _npz(arrays: Mapping[str, Any]) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def _saved(value: object, zipped: bool) -> bytes:
    held = io.BytesIO()
    torch.save(value, held, _use_new_zipfile_serialization=zipped)
    return held.getvalue()


def _images() -> list[bytes]:
    from PIL import Image

    image, found = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), []
    for form in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        held = io.BytesIO()
        image.save(held, form)
        found.append(held.getvalue())
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    return [*found, eps]


def _networks() -> Iterator[tuple[Sizes | TextSizes, Any, Architecture]]:
    """Small ones, one of each form."""
    generator = torch.Generator().manual_seed(0)
    text = TextSizes("darts-rnn", hidden=3, nodes=2, classes=4)
    forms = ("darts-cnn", 3), ("nas-bench-201", 1), ("mbconv", 1)
    images = [Sizes(form, 2, cells, 1, 2, (8, 8)) for form, cells in forms]
    for sizes in (text, *images):
        space = sizes.space(sizes.form)
        yield sizes, space, space.random_architecture(generator)


def _weights(network: torch.nn.Module) -> bytes:
    return save({name: t.contiguous() for name, t in network.state_dict().items()})


def _rebuilt(files: Mapping[str, bytes], folder: Path) -> None:
    _complete(files, folder)
    rebuilt(folder)


def _derived(files: Mapping[str, bytes], folder: Path) -> None:
    """Of a space from Python, of which the folder alone tells."""
    _complete(files, folder)
    search = SearchConfig(space=configuration.OWN, epochs=1)
    derive(Run(folder, configuration.RunConfig(search=search)), method("darts"), 1)


def _complete(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
