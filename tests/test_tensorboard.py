"""What TensorBoard reads back of a search."""

from __future__ import annotations

import math
import sys
from importlib.machinery import ModuleSpec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import archgrad
from archgrad.cli.main import main
from archgrad.errors import ArchgradError
from archgrad.progress.tensorboard import TensorBoard, tag
from archgrad.searching.callbacks import Beginning, EpochEnd
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.storage.files import read_lines
from archgrad.storage.folder import Run
from small import data as digits
from test_callbacks import LIVELY, RETRAINED, TINY, Heard, Killed, baseline

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)
from matplotlib.image import imread  # noqa: E402


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one second are told apart by a number that is compared as text: keep it short."""
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def read(folder: Path) -> Any:
    events = accumulator.EventAccumulator(
        str(folder), size_guidance=accumulator.STORE_EVERYTHING_SIZE_GUIDANCE
    )
    return events.Reload()


def scalars(events: Any) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def texts(events: Any, name: str) -> list[tuple[int, str]]:
    found = events.Tensors(f"{name}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found]


def test_numbers_histograms_and_cells_of_every_epoch(tmp_path: Path) -> None:
    heard = Heard()
    found = archgrad.search(
        "s2", digits(), callbacks=[TensorBoard(tmp_path), heard],
        **{**TINY, **LIVELY, "nodes": 2, "guard": "warn"},
    )  # fmt: skip
    events = read(tmp_path)
    numbers = scalars(events)
    for key in ("train_loss", "valid_loss", "valid_accuracy", "learning_rate", "entropy", "spent",
                "memory_mb", "alpha_loss", "eigenvalue", "parameters_percentile"):  # fmt: skip
        lines = [(line["epoch"], line[key]) for line in found.metrics if key in line]
        assert lines
        assert [step for step, _ in numbers[tag(key)]] == [step for step, _ in lines]
        values = [value for _, value in lines]
        assert [value for _, value in numbers[tag(key)]] == pytest.approx(values, rel=1e-6)
    assert {"loss/train", "accuracy/valid", "cost/spent", "diagnostics/entropy"} <= set(numbers)
    assert [step for step, _ in numbers["diagnostics/skips/normal"]] == [1, 2, 3]
    for kind in ("alpha", "strength"):
        for group in ("normal", "reduce"):
            kept = events.Histograms(f"{kind}/{group}")
            assert [event.step for event in kept] == [1, 2, 3]
            for event, end in zip(kept, heard.of("epoch_end"), strict=True):
                value = getattr(end, kind)[group]
                assert event.histogram_value.num == value.numel()
                assert event.histogram_value.min == pytest.approx(float(value.min()))
                assert event.histogram_value.max == pytest.approx(float(value.max()))
    pictures = events.Images("cells")
    assert [p.step for p in pictures] == [e.epoch for e in heard.of("architecture_changed")]
    for picture in pictures:
        pixels = imread(BytesIO(picture.encoded_image_string), format="png")
        assert pixels.shape[:2] == (picture.height, picture.width)
        assert 0 < pixels[..., :3].mean() < 1  # neither black nor blank
    said = [text for _, text in texts(events, "warnings")]
    assert said == heard.of("warning") and said
    ((step, options),) = texts(events, "options")
    assert step == 0 and "| batch_size | `8` |" in options


def interrupted(run: Path, folder: Path, epochs: int, **options: Any) -> None:
    with pytest.raises(Killed):
        archgrad.search(
            "s2", digits(), out=run, callbacks=[TensorBoard(folder), Heard(kill=epochs)],
            **{**TINY, **options},
        )  # fmt: skip


def test_it_can_be_read_while_the_search_runs(tmp_path: Path) -> None:
    class Reads(archgrad.Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            epochs.append([step for step, _ in scalars(read(tmp_path))["loss/train"]])

    epochs: list[list[int]] = []
    archgrad.search("s2", digits(), callbacks=[TensorBoard(tmp_path), Reads()], **TINY)
    assert epochs == [[1], [1, 2], [1, 2, 3]]


def test_a_resumed_search_goes_on_without_repeating_a_step(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "events"
    board = TensorBoard(folder)
    interrupted(run, folder, 1)
    board.begin(Beginning("search", SearchConfig(), read_lines(run / "metrics.jsonl")))
    board.epoch_end(later := event(2, 9.0))  # an epoch that the run folder never had
    board.end()
    found = archgrad.search(data=digits(), resume=run, callbacks=[TensorBoard(folder)])
    events = read(folder)
    steps, values = zip(*scalars(events)["loss/train"], strict=True)
    assert steps == (1, 2, 3) and later.metrics["train_loss"] not in values
    assert values == pytest.approx([line["train_loss"] for line in found.metrics], rel=1e-6)
    assert [e.step for e in events.Histograms("alpha/normal")] == [1, 2, 3]
    assert len(texts(events, "options")) == 1


def test_a_folder_that_begins_later_gets_the_earlier_numbers(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", tmp_path / "unused", 2)
    archgrad.search(data=digits(), resume=tmp_path / "run", callbacks=[TensorBoard(tmp_path / "b")])
    events = read(tmp_path / "b")
    assert [step for step, _ in scalars(events)["loss/valid"]] == [1, 2, 3]
    assert [event.step for event in events.Histograms("alpha/normal")] == [3]


def event(epoch: int, loss: float) -> EpochEnd:
    return EpochEnd({"epoch": epoch, "train_loss": loss}, 3, archgrad.published("DARTS_V2"))


def test_what_goes_back_replaces_the_later_steps(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.warning("said before it begins")
    board.begin(Beginning("search", SearchConfig()))
    for epoch, loss in ((1, 1.0), (2, 2.0), (3, 3.0)):
        board.epoch_end(event(epoch, loss))
    board.went_back(1)
    board.warning("back to epoch 1")
    for epoch, loss in ((2, 4.0), (3, math.inf)):
        board.epoch_end(event(epoch, loss))
    board.end()
    events = read(tmp_path)
    assert scalars(events)["loss/train"] == [(1, 1.0), (2, 4.0), (3, math.inf)]
    said = [(1, "said before it begins"), (2, "back to epoch 1")]
    assert texts(events, "warnings") == said


def test_a_baseline_shows_scores_and_the_best_so_far(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RunConfig(search=SearchConfig()))
    baseline(TensorBoard(tmp_path / "events"), run)
    baseline(TensorBoard(tmp_path / "events"), run, budget=6)
    events = read(tmp_path / "events")
    numbers = scalars(events)
    assert numbers["score/evaluation"] == [(2, 1), (3, 3), (4, 3), (5, 2), (6, 4)]
    assert numbers["score/best"] == [(2, 1), (3, 3), (4, 3), (5, 3), (6, 4)]
    assert [step for step, _ in numbers["cost/spent"]] == [1, 2, 3, 4, 5, 6]
    assert [picture.step for picture in events.Images("cells")] == [2, 3, 6]


def test_retrainings_have_folders_of_their_own(tmp_path: Path) -> None:
    options = {key.removeprefix("train_"): value for key, value in RETRAINED.items()}
    del options["random_cells"]
    cell = archgrad.search("s2", digits(), **{**TINY, "epochs": 1}).architecture
    archgrad.train(
        cell, digits(), callbacks=[TensorBoard(tmp_path)], **{**options, "seeds": 2, "epochs": 2}
    )
    for seed in (0, 1):
        numbers = scalars(read(tmp_path / "found" / f"seed-{seed}"))
        assert [step for step, _ in numbers["loss/train"]] == [1, 2]
    assert not list(tmp_path.glob("events*"))


def test_without_matplotlib_the_cells_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archgrad.progress.tensorboard.png", lambda architecture: None)
    archgrad.search("s2", digits(), callbacks=[TensorBoard(tmp_path)], **{**TINY, "epochs": 1})
    events = read(tmp_path)
    ((step, cells),) = texts(events, "cells")
    assert step == 1 and "normal" in cells and not events.Tags()["images"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [("train_loss", "loss/train"), ("valid_perplexity", "perplexity/valid"),
     ("watch_accuracy", "accuracy/watch"), ("alpha_loss", "loss/alpha"), ("valid_iou", "iou/valid"),
     ("watch_images", "diagnostics/watch_images"), ("spent", "cost/spent"),
     ("score", "score/evaluation"), ("eigenvalue", "diagnostics/eigenvalue")],
)  # fmt: skip
def test_tags(key: str, expected: str) -> None:
    assert tag(key) == expected


# --- the command line -----------------------------------------------------------------------------

SEARCH = [
    "search", "--space", "s2", "--channels", "2", "--cells", "3", "--nodes", "1", "--subset", "48",
    "--batch-size", "8", "--guard", "off",
]  # fmt: skip
SMALL = ["--channels", "2", "--cells", "3", "--epochs", "2", "--seeds", "1", "--subset", "48",
         "--auxiliary-weight", "0", "--batch-size", "12"]  # fmt: skip


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert not ended.value.code


def test_the_flag_writes_into_the_run_folder_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command(*SEARCH, "--epochs", "1", "--tensorboard", "--out", str(run))
    assert [step for step, _ in scalars(read(run / "tensorboard"))["loss/train"]] == [1]
    command("train", str(run), *SMALL, "--tensorboard", "--out", str(tmp_path / "trained"))
    command("train", "--resume", str(tmp_path / "trained"))  # writes them again
    found = read(tmp_path / "trained" / "tensorboard" / "found" / "seed-0")
    lines = read_lines(tmp_path / "trained" / "found" / "seed-0" / "metrics.jsonl")
    losses = [(line["epoch"], pytest.approx(line["train_loss"], rel=1e-6)) for line in lines]
    assert scalars(found)["loss/train"] == losses and len(losses) == 2


def test_without_the_flag_there_is_nothing(tmp_path: Path) -> None:
    command(*SEARCH, "--epochs", "1", "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_what_is_missing_is_said_before_a_folder_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ArchgradError, match=r"pip install \"archgrad\[track\]\""):
        TensorBoard(tmp_path / "events")
    a_folder = ModuleSpec("tensorboard", None, is_package=True)  # as in the folder of a run
    for missing in (None, a_folder):
        monkeypatch.setattr(
            "archgrad.progress.terminal.find_spec", lambda name, found=missing: found
        )
        with pytest.raises(SystemExit):
            main([*SEARCH, "--tensorboard", "--out", str(tmp_path / "run")])
        assert 'pip install "archgrad[track]"' in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


def test_trouble_with_it_ends_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError("disk full")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("archgrad.progress.tensorboard.write_retrainings", fails)
        command(*SEARCH, "--epochs", "1", "--tensorboard", "--out", str(run))
    told = capsys.readouterr()
    assert "TensorBoard has not all of the retrainings (disk full)" in told.err
    assert "everything is in" in told.out
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    command("search", "--resume", str(run))
    told = capsys.readouterr()
    assert "which is not installed" in told.err and "the run goes on without it" in told.err
    assert "everything is in" in told.out
