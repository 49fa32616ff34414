"""The verb export on language models: every format as its user would load it, with the state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import archgrad
from archgrad.architecture import published
from archgrad.cli import main as cli
from archgrad.errors import ArchgradError
from archgrad.exporting import formats as exporting
from archgrad.exporting.formats import FORMATS, export_to
from archgrad.exporting.stepping import Step
from archgrad.exporting.subjects import subject_of
from archgrad.exporting.trained import TrainResult, of_folder, rebuilt
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.storage.folder import Run
from exports import FILES, imported, scrambled, text_score

SPACE = DartsRNN(hidden=4, classes=6)
WORDS = ("<eos>", "the", "cat", "sat", "grün", "up")
CELL = published("DARTS_RNN_V2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a retraining on some text leaves, and that text."""
    config = archgrad.settings.config.build({"data": {"data": "grammar"}, "train": {"seeds": 1}})  # type: ignore[attr-defined]
    run = Run.create(tmp_path / "run", config, {"architecture.json": CELL.to_json()})
    place = run.path / "found/seed-0"
    place.mkdir(parents=True)
    begun = {"begun_with": {"options": {"epochs": 5}, "data": "0123456789abcdef"}}
    (place / "result.json").write_text(json.dumps(text_score() | begun))
    save_file(scrambled(SPACE.derive(CELL)).state_dict(), place / "weights.safetensors")
    data = SimpleNamespace(classes=WORDS, fingerprint=lambda: "0123456789abcdef")
    monkeypatch.setattr("archgrad.exporting.trained.load_data", lambda config: (data, None))
    return run.path


def loaded(format: str, folder: Path) -> Callable[[Tensor, Tensor], Any]:
    """One step of the export as its user would load it."""
    if format == "source":
        return Step(imported(folder / "model.py").load())
    if format == "torch":
        program = torch.export.load(folder / "model.pt2").module()
        return lambda tokens, state: program(tokens=tokens, state=state)
    if format == "safetensors":
        return Step(rebuilt(folder))
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )

    def step(tokens: Tensor, state: Tensor) -> list[Tensor]:
        given = {"tokens": tokens.numpy(), "state": state.numpy()}
        return [torch.from_numpy(x) for x in session.run(["logits", "next_state"], given)]

    return step


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_carries_the_state_through_a_text(
    format: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["export", str(folder), "--format", format, "--out", str(out)])
    (line,) = capsys.readouterr().out.splitlines()
    assert "checked, the outputs differ by " in line
    assert ("; it is one step in time: tokens (B,)" in line) == (format in ("onnx", "torch"))
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES[format], "vocabulary.json"])
    assert json.loads((out / "vocabulary.json").read_text(encoding="utf-8")) == list(WORDS)
    network, step = of_folder(folder).network, loaded(format, out)
    for batch in (1, 5):  # any but those it was checked with
        text = torch.randint(6, (7, batch), generator=torch.Generator().manual_seed(batch))
        state, found = torch.zeros(batch, 4), []
        with torch.no_grad():
            expected, last = network(text)
            for tokens in text:
                logits, state = step(tokens, state)
                found.append(logits)
        limit = 10 * FORMATS[format].limit
        torch.testing.assert_close(torch.stack(found), expected, rtol=0, atol=limit)
        torch.testing.assert_close(state, last, rtol=0, atol=limit)


def test_the_json_file_says_what_the_rebuilt_model_takes(folder: Path) -> None:
    archgrad.export(folder, "safetensors")
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert description["model"] == "LanguageModel"
    assert description["inputs"] == [
        {"name": "tokens", "shape": ["time", "batch"], "type": "int64"},
        {"name": "state", "shape": ["batch", 4], "type": "float32"},
    ]
    assert description["sizes"] == {"form": "darts-rnn", "hidden": 4, "nodes": 8, "classes": 6}
    assert description["story"]["perplexity"] == "55.70, on 82,430 test tokens"
    network = rebuilt(folder).train()
    text = torch.arange(6).view(3, 2)
    assert torch.equal(network(text)[0], network(text)[0])  # no dropout
    assert load_file(folder / "weights.safetensors").keys() == network.state_dict().keys()


@pytest.mark.parametrize("cause", ["gone", "changed"])
def test_a_vocabulary_that_is_not_sure_is_not_written(
    cause: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(config: object) -> tuple[object, None]:
        if cause == "gone":
            raise ArchgradError("no such file")
        return SimpleNamespace(classes=WORDS, fingerprint=lambda: "another"), None

    monkeypatch.setattr("archgrad.exporting.trained.load_data", load)
    assert [path.name for path in archgrad.export(folder).files] == FILES["source"]
    assert "vocabulary" not in (folder / "model.py").read_text(encoding="utf-8")


def test_a_result_of_training_is_exported(tmp_path: Path) -> None:
    """From Python; the network has its dropout, the export none."""
    network = scrambled(SPACE.derive(CELL)).train()
    found = TrainResult(CELL, [text_score()], [network])  # type: ignore[list-item]
    assert archgrad.export(found, "safetensors", tmp_path).difference <= 1e-6
    (entry,) = [s for s in found.scores if s["perplexity"] == 55.7]
    trained = archgrad.exporting.trained.of_training(CELL, network, entry, [entry], WORDS)  # type: ignore[attr-defined]
    exported = export_to(subject_of(trained), "source", tmp_path)
    assert [path.name for path in exported.files] == [*FILES["source"], "vocabulary.json"]


@pytest.mark.parametrize(("error", "kept"), [(5e-6, True), (3e-5, False)])
def test_an_export_with_another_next_state_is_not_kept(
    error: float, kept: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits are right, those of later steps would not be; rounding is let pass."""
    form = FORMATS["source"]

    def load(subject: exporting.Subject, place: Path) -> exporting.Computing:
        step = form.load(subject, place)

        def off(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            logits, after = step(tokens=tokens, state=state)
            return logits, after + error

        return off

    monkeypatch.setitem(FORMATS, "source", form._replace(load=load))
    if kept:
        assert archgrad.export(folder).difference == pytest.approx(error, rel=0.2)
        return
    with pytest.raises(ArchgradError, match="outputs differ by 3.*, expected at most 1e-05"):
        archgrad.export(folder, "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_seeds_are_summed_up_as_perplexities(folder: Path) -> None:
    other = folder / "found/seed-1"
    other.mkdir()
    (other / "result.json").write_text(json.dumps(text_score(1, perplexity=57.7)))
    assert of_folder(folder).story()["perplexity"] == (
        "56.70 ± 1.41 (mean and standard deviation of 2 seeds); with these weights 55.70, on "
        "82,430 test tokens"
    )
