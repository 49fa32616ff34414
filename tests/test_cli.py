"""The command line as a user meets it: output, files, help, and every wrong input with status 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from archgrad.architecture import Architecture
from archgrad.cli import main as cli
from archgrad.settings.config import FILLED_IN, SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.recipes import named
from archgrad.settings.train_config import TrainConfig
from archgrad.system import interruption

TINY = "--subset 80 --channels 2 --cells 3 --nodes 1 --epochs 1 --batch-size 20".split()
TINY_TRAIN = "--channels 2 --cells 3 --epochs 1 --batch-size 20 --jobs 1".split()
TINY_RUN = [
    *TINY,
    *(f"--train-{o[2:]}" if o.startswith("--") else o for o in TINY_TRAIN),
    *"--train-seeds 2 --random-cells 2".split(),
]


def run(*arguments: str | Path) -> int:
    """The status of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a refusal with status 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    if lines[0].startswith("archgrad 0"):  # what is being resumed
        del lines[0]
    assert len(lines) == 1
    assert lines[0].startswith("archgrad: ")
    return lines[0] + "\n"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "run"
    assert run("search", *TINY, "--out", path) == 0
    return path


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job") / "run"
    assert run("run", *TINY_RUN, "--out", path) == 0
    return path


# --- what the commands leave and print --------------------------------------------------------


def test_search_leaves_a_complete_run_folder(searched: Path) -> None:
    names = {path.name for path in searched.iterdir()}
    assert names == {
        "config.yaml", "environment.json", "metrics.jsonl", "alphas.jsonl", "architecture.json",
        "checkpoints", "classes.json", "cells.svg", "cells.png", "groups.json", "report.html",
        ".lock",
    }  # fmt: skip
    config = yaml.safe_load((searched / "config.yaml").read_text())
    assert config["search"]["channels"] == 2
    assert set(config["search"]) == set(SearchConfig.model_fields)
    environment = json.loads((searched / "environment.json").read_text())[-1]
    assert {"archgrad", "torch", "python", "device", "commit", "command"} <= set(environment)
    Architecture.load(searched / "architecture.json")


def test_search_prints_the_cells_and_what_to_do_next(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", "--config", searched / "config.yaml", "--out", tmp_path / "b c") == 0
    out, err = capsys.readouterr()
    assert str(Architecture.load(searched / "architecture.json")) in out  # the same run again
    assert f"next: archgrad train '{tmp_path / 'b c'}'\n" in out
    assert "search   1/1" in err
    assert (tmp_path / "b c/alphas.jsonl").read_text() == (searched / "alphas.jsonl").read_text()


def test_an_option_overrides_the_configuration(searched: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert run("search", "--config", searched / "config.yaml", "--seed", "3", "--out", out) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())["search"]
    assert config["seed"] == 3
    assert config["channels"] == 2
    assert (out / "alphas.jsonl").read_text() != (searched / "alphas.jsonl").read_text()


def test_method_options_reach_the_method(searched: Path, tmp_path: Path) -> None:
    out = tmp_path / "d"
    option = ["--method-option", "alpha_learning_rate=1e-2"]
    assert run("search", *TINY, *option, "--out", out) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())["search"]
    kept = {"alpha_weight_decay": 0.001, "alpha_momentum": 0.5}
    assert config["method_options"] == {"alpha_learning_rate": 0.01, **kept}
    assert (out / "alphas.jsonl").read_text() != (searched / "alphas.jsonl").read_text()


def test_resume_of_a_finished_search_is_harmless(searched: Path) -> None:
    before = (searched / "alphas.jsonl").read_text()
    assert run("search", "--resume", searched) == 0
    assert (searched / "alphas.jsonl").read_text() == before


def test_derive_prints_or_writes_the_architecture(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("derive", searched) == 0
    found = Architecture.load(searched / "architecture.json")
    assert Architecture.from_json(capsys.readouterr().out) == found
    assert run("derive", searched, "--epoch", "1", "--out", tmp_path / "a.json") == 0
    assert Architecture.load(tmp_path / "a.json") == found


def test_train_takes_a_run_a_file_and_a_published_name(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, what in enumerate([searched, searched / "architecture.json", "DARTS_V1"]):
        out = tmp_path / str(number)
        data = [] if what == searched else ["--subset", "80"]
        assert run("train", what, *TINY_TRAIN, *data, "--seeds", "2", "--out", out) == 0
        text = capsys.readouterr().out
        assert "parameters" in text
        scores = [json.loads((out / f"found/seed-{s}/result.json").read_text()) for s in (0, 1)]
        for score in scores:
            assert f"{100 * score['accuracy']:.2f}" in text
    # a run brings its own data
    config = yaml.safe_load((tmp_path / "0" / "config.yaml").read_text())
    assert config["data"]["subset"] == 80
    assert run("train", "--resume", tmp_path / "0") == 0


def test_the_main_job_compares_with_random_cells(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((job / "results.json").read_text())
    assert set(results["scores"]) == {"found", "random-1", "random-2"}
    assert all(len(scores) == 2 for scores in results["scores"].values())
    cells = [
        Architecture.load(job / "train" / label / "architecture.json")
        for label in results["scores"]
    ]
    assert len(set(cells)) == 3
    capsys.readouterr()
    assert run("run", "--resume", job) == 0  # nothing is done again
    out = capsys.readouterr().out
    summary = (job / "summary.txt").read_text()
    for score in results["scores"]["found"]:
        assert score["test_images"] == 359
    mean = sum(score["accuracy"] for score in results["scores"]["found"]) / 2
    assert f"{100 * mean:.2f}" in summary
    assert f"{100 * mean:.2f}" in out
    assert "one search says nothing about the method" in summary
    assert "found - random:" in summary
    assert json.loads((job / "results.json").read_text()) == results


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for command, expected in {
        "methods": ["darts_2nd", "Exact", "arXiv:1806.09055"],
        "spaces": ["darts-cnn", "s1", "s4", "nas-bench-201", "mbconv", "arXiv:1909.09656"],
        "data": ["digits", "cifar10", "cifar100", "npz:FILE", "folder:DIR"],
        "recipes": ["darts-cifar10", "pc-darts-imagenet", "nas-bench-201", "224x224"],
    }.items():
        assert run(command) == 0
        out = capsys.readouterr().out
        assert all(text in out for text in expected), out


def test_a_recipe_is_printed_in_full_and_named_in_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("recipes", "pc-darts-cifar10") == 0
    assert yaml.safe_load(capsys.readouterr().out)["train"]["drop_path"] == 0.3
    assert 'did you mean "darts-cifar10"' in refused(capsys, "recipes", "darts_cifar10")
    for verb in ("train", "search"):
        assert run(verb, "--help") == 0
        unbroken = "".join(capsys.readouterr().out.split())
        assert all(name in unbroken for name in named(verb)), verb


def test_train_takes_a_recipe_and_records_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*TINY_TRAIN, "--subset", "80", "--seeds", "1", "--auxiliary-weight", "0"]
    command = ["train", "DARTS_V2", "--recipe", "pc-darts-cifar10", "--data", "digits", *tiny]
    assert "made for images of 32x32 pixels, found 8x8" in refused(capsys, *command)
    also = ["--any-image-size", "--cutout", "2", "--out", tmp_path / "a"]
    assert run(*command, *also) == 0
    config = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert config["train"]["recipe"] == "pc-darts-cifar10"
    assert (config["train"]["drop_path"], config["train"]["epochs"]) == (0.3, 1)
    assert (config["data"]["data"], config["data"]["flip"]) == ("digits", True)


def test_a_retraining_in_pieces_is_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = "--channels 2 --cells 3 --epochs 2 --batch-size 20 --subset 80 --seeds 2".split()
    command = ["train", "DARTS_V2", *tiny, "--jobs", "1", "--ema", "0.5"]
    assert run(*command, "--out", tmp_path / "whole") == 0
    cut = tmp_path / "cut"
    assert run(*command, "--out", cut, "--piece-seconds", "0") == 0
    out = capsys.readouterr().out
    while "paused" in out.splitlines()[-1]:
        told = f"of 4 epochs; continue with: archgrad train --resume {cut} --piece-seconds 0"
        assert out.splitlines()[-1].endswith(told)
        assert not (cut / "found" / "seed-1" / "result.json").exists()
        assert run("train", "--resume", cut, "--piece-seconds", "0") == 0
        out = capsys.readouterr().out
    for seed in ("seed-0", "seed-1"):
        place = f"found/{seed}/weights.safetensors"
        assert (cut / place).read_bytes() == (tmp_path / "whole" / place).read_bytes()


def test_every_option_is_in_the_help_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    sections = {"": (DataConfig, SearchConfig), "train-": (TrainConfig,)}
    for prefix, classes in sections.items():
        for section in classes:
            for name, field in section.model_fields.items():
                if name in FILLED_IN:
                    continue
                flag = (
                    "--method-option"
                    if name == "method_options"
                    else (f"--{prefix}{name.replace('_', '-')}")
                )
                assert f"{flag} " in words
                assert field.description
                beginning = " ".join(field.description.split()[:3])
                assert beginning in words
    unbroken = words.replace(" ", "")  # lines break at hyphens
    assert "[50;digits:10;darts-rnn:50;grammar:5;text:20]" in unbroken
    assert "[8;digits:4;nas-bench-201:5;mbconv:4]" in unbroken


def test_a_name_for_the_results_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("search", *TINY) == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["digits-darts-0", "digits-darts-1"]


def test_help_answers_without_torch() -> None:
    """`archgrad --help` and `import archgrad` do not wait for torch."""
    code = (
        "import sys; from archgrad.cli import main as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stdout.strip().endswith("False False")


@pytest.mark.slow
def test_import_and_help_are_fast() -> None:
    """Import costs at most 0.3 s over torch, help at most 0.5 s, of the processor (of five)."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # compiled once

    def median(*arguments: str) -> float:
        times = []
        for _ in range(5):
            started = sum(os.times()[2:4])  # of the processes that have ended
            command = [sys.executable, *arguments]
            subprocess.run(command, check=True, capture_output=True, env=environment)
            times.append(sum(os.times()[2:4]) - started)
        return sorted(times)[2]

    everything = "import archgrad; [getattr(archgrad, name) for name in archgrad.__all__]"
    assert median("-c", f"import torch; {everything}") - median("-c", "import torch") < 0.3
    assert median("-m", "archgrad", "--help") < 0.5


# --- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "dart"], r'method "dart" is not known; did you mean "darts"\?'),
        (["--space", "darts"], r'space "darts" is not known; did you mean "darts-rnn"\?'),
        (["--data", "digit"], r'did you mean "digits"\?'),
        (["--device", "gpu"], r'device "gpu" is not known;.* Known: auto, cpu'),
        (["--channels", "0"], "field search.channels: found 0, expected greater than or equal"),
        (["--learning-rate", "nan"], "search.learning_rate: found nan"),
        (["--image-size", "2"], "would shrink below one pixel.*expected at least 3"),
        (["--edges-per-node", "3"], "node 2 has only 2 incoming"),
        (["--cells", "2"], "space darts-cnn: cells is 2, expected at least 3"),
        (["--space", "s1"], "space s1, group normal: found candidates for 14 edges, expected 2"),
        (["--space", "nas-bench-201"], "nas-bench-201 has no option nodes, found 1; leave it out"),
        (["--batch-size", "64"], "64"),
        (["--subset", "5000"], "5000"),
        (["--method-option", "alpha"], 'found "alpha", expected KEY=VALUE'),
        (["--method-option", "speed=1"], 'option of method darts "speed" is not known'),
        (["--method-option", "alpha_learning_rate=fast"], "found 'fast', expected float"),
        (["--data", "cifar10"], "root"),
        (["--data", "npz:missing.npz"], "missing.npz"),
        (["--data", "folder:missing", "--image-size", "8"], "missing"),
        (["--config", "missing.yaml"], "missing.yaml cannot be read"),
        (["--resume", "missing"], "folder missing holds no run"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    usual = [] if "--resume" in arguments else TINY
    if "--config" in arguments:
        usual = []
    assert re.search(expected, refused(capsys, "search", *usual, *arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train-auxiliary-weight", "0.4"], "at least 29 pixels.*--train-auxiliary-weight 0"),
        (["--train-device", "tpu"], 'device "tpu" is not known'),
        (["--train-cutout", "16"], "cutout"),
        (["--train-batch-size", "5000"], "5,?000"),
        (["--edges-per-node", "1", "--random-cells", "2000000"], "not have 2000000 different"),
    ],
)
def test_the_main_job_refuses_before_the_search_what_retraining_would_refuse(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "archgrad.verbs.experiment.DRAWS_PER_CELL", 0 if "2000000" in arguments else 100
    )
    out = tmp_path / "run"
    assert re.search(expected, refused(capsys, "run", *TINY_RUN, *arguments, "--out", out))
    assert not out.exists()


def test_an_output_folder_that_holds_something_is_left_alone(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in searched.rglob("*")}
    message = refused(capsys, "search", *TINY, "--out", searched)
    assert f"--resume {searched}" in message
    assert {path: path.stat().st_mtime_ns for path in searched.rglob("*")} == before
    (tmp_path / "file").write_text("mine")
    refused(capsys, "search", *TINY, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_resumed_run_keeps_its_options(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, "search", "--resume", searched, "--epochs", "9")
    assert "leave out epochs" in message
    assert f"--config {searched / 'config.yaml'}" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train"], "give either what to retrain"),
        (["train", "DARTS_V3"], 'did you mean "DARTS_V2"'),
        (["train", "missing.json"], "missing.json cannot be read"),
        (["derive", "missing"], "holds no run"),
    ],
)
def test_what_is_not_there_is_named(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(capsys, *arguments)


def test_derive_refuses_an_epoch_that_was_not_and_an_existing_file(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expected 1 to 1" in refused(capsys, "derive", searched, "--epoch", "7")
    (tmp_path / "a.json").write_text("mine")
    message = refused(capsys, "derive", searched, "--out", tmp_path / "a.json")
    assert "already exists" in message


def test_the_wrong_kind_of_folder_is_named(
    searched: Path, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "main job" in refused(capsys, "run", "--resume", searched)
    out = tmp_path / "t"
    assert (
        run("train", "DARTS_V1", *TINY_TRAIN, "--subset", "80", "--seeds", "1", "--out", out) == 0
    )
    assert "holds no search" in refused(capsys, "search", "--resume", out)
    assert "holds no search" in refused(capsys, "derive", out)
    assert "holds no retraining" in refused(capsys, "train", "--resume", searched)


@pytest.mark.parametrize("damage", ["config", "metrics", "checkpoint", "architecture"])
def test_damaged_files_of_a_run_are_named(
    damage: str, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    path = tmp_path / "run"
    shutil.copytree(searched, path)
    if damage == "config":
        text = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(text.replace("channels: 2", "channels: two"))
        assert "search.channels: found 'two'" in refused(capsys, "search", "--resume", path)
    elif damage == "metrics":
        (path / "metrics.jsonl").write_text("{broken\n")
        assert "metrics.jsonl is damaged" in refused(capsys, "search", "--resume", path)
    elif damage == "checkpoint":
        last = path / "checkpoints" / "last.pt"
        last.write_bytes(last.read_bytes()[:1000])
        message = refused(capsys, "search", "--resume", path)
        assert "last.pt cannot be read" in message
        assert "remove it" in message
    else:
        (path / "architecture.json").write_text('{"format": "archgrad-architecture/9"}')
        assert "field format: found" in refused(capsys, "train", path)


def npz(path: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.savez(path, x=x, y=y)
    return f"npz:{path}"


def test_wrong_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    x = generator.random((60, 8, 8, 1), dtype=np.float32)
    y = np.arange(60) % 3
    tiny = [option for option in TINY if option not in ("--subset", "80")]

    def message(x: np.ndarray, y: np.ndarray) -> str:
        data = npz(tmp_path / "d.npz", x, y)
        return refused(capsys, "search", *tiny, "--data", data, "--out", tmp_path / "run")

    bad = x.copy()
    bad[7, 0, 0, 0] = np.inf
    assert "7" in message(bad, y)
    assert "label" in message(x, np.where(y == 2, -1, y))
    assert "class" in message(x, np.where(y == 1, 2, y)).lower()
    assert "60" in message(x, y[:-1])
    data = npz(tmp_path / "d.npz", x, y)
    archive = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(archive[: len(archive) // 2])
    assert "d.npz" in refused(capsys, "search", *tiny, "--data", data, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archgrad.progress.display import Display

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Display, "step", interrupt)
    assert run("search", *TINY, "--out", tmp_path / "my run") == 130
    assert interruption.again() == f"archgrad search --resume '{tmp_path / 'my run'}'"


def test_a_disk_that_refuses_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("archgrad.storage.folder.os.replace", full)
    message = refused(capsys, "search", *TINY, "--out", tmp_path / "run")
    wanted = tmp_path / "run" / "config.yaml"
    assert message == f"archgrad: No space left on device: {wanted}; make room on that disk\n"
