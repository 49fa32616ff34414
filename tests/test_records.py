"""What a search keeps and goes back to: recoveries, kills between two files, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.data import Data, as_data
from archgrad.errors import ArchgradError
from archgrad.methods import Method, Recovery
from archgrad.parts.edge import AuxiliarySkip
from archgrad.parts.relaxation import ALONE
from archgrad.parts.stopping import History, Verdict
from archgrad.searching.bilevel import BilevelSearch, bilevel_search
from archgrad.searching.guard import Finding, Guard
from archgrad.searching.loaders import Loaders
from archgrad.searching.result import SearchResult
from archgrad.searching.tuning import Tuning
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import NasBench201
from archgrad.storage import files, folder
from archgrad.storage.folder import Run, load_checkpoint

SPACE = DartsCNN(
    channels=4, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=2,
    operations=("none", "skip_connect", "sep_conv_3x3"),
)  # fmt: skip
CONFIG = SearchConfig(
    epochs=5, batch_size=12, learning_rate=0.1, watch_fraction=0, guard="off", device="cpu"
)
CPU = torch.device("cpu")


@dataclass
class Verdicts:
    """A stopping rule that says (when, where to go back to), each once."""

    left: list[tuple[int, int]]

    def __call__(self, history: History) -> Verdict | None:
        if not self.left or history[-1]["epoch"] != self.left[0][0]:
            return None
        return Verdict("enough", self.left.pop(0)[1])


def adaptive(*verdicts: tuple[int, int]) -> Method:
    return Method(stopping=Verdicts([*verdicts]), recovery=Recovery(10.0, 1.0))


def searched(
    data: Data, method: Method, path: Path | None = None, config: SearchConfig = CONFIG
) -> SearchResult:
    run = None
    if path is not None:
        path.mkdir(exist_ok=True)
        run = Run(path, RunConfig(search=config))
    return bilevel_search(SPACE, data, method, config, run=run)


def weight_decay(path: Path) -> float:
    checkpoint = load_checkpoint(path / "checkpoints", CPU)
    assert checkpoint is not None
    return float(checkpoint["weight_optimizer"]["param_groups"][0]["weight_decay"])


def equal(a: SearchResult, b: SearchResult) -> bool:
    timed = {"seconds", "memory_mb"}
    lines = [[{k: v for k, v in m.items() if k not in timed} for m in r.metrics] for r in (a, b)]
    return lines[0] == lines[1] and all(torch.equal(a.alpha[k], b.alpha[k]) for k in a.alpha)


def test_a_recovery_is_the_same_with_and_without_a_run_folder(
    two_digits: Data, tmp_path: Path
) -> None:
    kept = searched(two_digits, adaptive((3, 2), (5, 4)), tmp_path / "run")
    assert equal(kept, searched(two_digits, adaptive((3, 2), (5, 4))))
    assert not equal(kept, searched(two_digits, Method()))
    assert weight_decay(tmp_path / "run") == pytest.approx(3e-2)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_killed_before_a_checkpoint_is_kept_and_resumed_it_can_still_go_back(
    call: int, two_digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between last.pt and its copy: of an epoch before, of and after the recovery, and of that."""
    calls = 0

    def keep(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        folder.keep_checkpoint(*args)

    path, verdicts = tmp_path / "run", Verdicts([(3, 2)])
    method = Method(stopping=verdicts, recovery=Recovery(10.0, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr("archgrad.searching.records.keep_checkpoint", keep)
        with pytest.raises(Killed):
            searched(two_digits, method, path)
    assert equal(searched(two_digits, method, path), searched(two_digits, adaptive((3, 2))))
    assert weight_decay(path) == pytest.approx(3e-3)


def test_a_folder_of_an_older_version_can_go_back_as_well(
    two_digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines have no cells, so nothing is known of the epoch that it goes back to."""
    path, method = tmp_path / "run", Method(stopping=Verdicts([(3, 2)]), recovery=Recovery(10, 1))
    with monkeypatch.context() as patch:
        patch.setattr(
            "archgrad.searching.bilevel.announce", lambda event, _: event.epoch < 3 or kill()
        )
        with pytest.raises(Killed):
            searched(two_digits, method, path)
    lines = files.read_lines(path / "alphas.jsonl")
    older = ({"epoch": line["epoch"], "alpha": line["alpha"]} for line in lines)
    (path / "alphas.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    assert equal(searched(two_digits, method, path), searched(two_digits, adaptive((3, 2))))


def kill() -> None:
    raise Killed


def test_a_recovery_does_not_go_back_behind_an_earlier_one(
    two_digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose checkpoints may be gone."""
    monkeypatch.setattr("archgrad.searching.records.KEPT", 2)
    found = searched(two_digits, adaptive((4, 3), (4, 1)), tmp_path / "run")
    assert [line["epoch"] for line in found.metrics] == [1, 2, 3, 4, 5]
    assert weight_decay(tmp_path / "run") == pytest.approx(3e-2)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("epoch-*"))
    assert kept[-2:] == ["epoch-4.pt", "epoch-5.pt"]


def test_with_the_weight_decay_at_its_cap_the_rule_is_not_asked_any_more(
    two_digits: Data,
) -> None:
    rule = Verdicts([(2, 1), (4, 3)])
    found = searched(two_digits, Method(stopping=rule, recovery=Recovery(10.0, 1e-3)))
    assert rule.left == [(4, 3)]
    assert found.stopped is None
    assert len(found.metrics) == 5


# --- the guard -----------------------------------------------------------------------------------


def ailing(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """The guard finds these after epoch 3, whatever it sees."""
    monkeypatch.setattr(
        Guard, "__call__", lambda self, history: [*findings] if len(history) >= 3 else []
    )


@pytest.mark.parametrize(("mode", "epoch"), [("stop", 3), ("rollback", 1)])
def test_the_guard_ends_a_search_that_could_recover(
    mode: str, epoch: int, two_digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes back to before all that ails."""
    first, second = Finding("a", "A ails", 1, True), Finding("b", "B ails", 2, True)
    ailing(monkeypatch, first, second, Finding("c", "C is odd", 0))
    config = CONFIG.model_copy(update={"guard": mode})
    found = searched(two_digits, adaptive(), tmp_path / "run", config)
    assert found.stopped == "A ails; B ails"
    assert [line["epoch"] for line in found.metrics] == [1, 2, 3]
    line = json.loads((tmp_path / "run" / "alphas.jsonl").read_text().splitlines()[epoch - 1])
    assert {name: value.tolist() for name, value in found.alpha.items()} == line["alpha"]
    again = searched(two_digits, adaptive(), tmp_path / "run", config)
    assert again.architecture == found.architecture
    assert again.stopped == found.stopped


def test_measuring_changes_no_result(two_digits: Data) -> None:
    """With noise among the candidates, which is drawn in every pass."""
    space = replace(SPACE, operations=("noise", "sep_conv_3x3"))
    results = [
        bilevel_search(
            space, two_digits, Method(), CONFIG.model_copy(update={"guard": mode, "epochs": 2})
        )
        for mode in ("off", "warn")
    ]
    assert all(torch.equal(value, results[1].alpha[k]) for k, value in results[0].alpha.items())


# --- the end of a search -------------------------------------------------------------------------


def test_a_selection_sees_the_schedules_at_their_end(two_digits: Data, tmp_path: Path) -> None:
    """A resumed search too, which has made no step."""
    method = Method(edges=(AuxiliarySkip(),))
    searched(two_digits, method, tmp_path / "run", CONFIG.model_copy(update={"epochs": 1}))
    config = CONFIG.model_copy(update={"epochs": 1})
    run = Run(tmp_path / "run", RunConfig(search=config))
    search = BilevelSearch(SPACE, two_digits, method, config, None, CPU, run)
    assert search.done == 1
    Tuning(search)
    assert {module.progress for module in search.leg.net.moving} == {1.0}


def test_in_a_selection_the_alpha_of_a_decided_edge_rests(two_digits: Data) -> None:
    search = BilevelSearch(SPACE, two_digits, Method(), CONFIG, None, CPU, None)
    mask = {group.name: torch.ones(group.shape) for group in search.leg.space.groups}
    mask["normal"][0] = ALONE * torch.eye(3)[2]
    Tuning(search)._restrict(mask)
    state = search.state(*next(search.loaders.epoch(0)))
    gradient = search.method.hypergradient(search.leg.net.alpha, state).gradient
    assert not gradient["normal"][0].any()
    assert gradient["normal"][1].any()


def test_selecting_after_a_search_of_single_paths_is_refused(tmp_path: Path) -> None:
    data = torch.rand(16, 1, 8, 8), torch.arange(16) % 2
    given = {"channels": 2, "cells": 3, "nodes": 1, "epochs": 1, "batch_size": 8, "guard": "off"}
    archgrad.search(data=data, method="gdas", out=tmp_path / "run", **given)
    with pytest.raises(ArchgradError, match="where a single path is computed, removing another"):
        archgrad.derive(tmp_path / "run", rule="perturbation", data=data)


@pytest.mark.parametrize("samples", [2, 5])
def test_shapley_values_move_alpha_once_an_epoch(samples: int, two_digits: Data) -> None:
    """Or more rarely, where an epoch of two steps has too few."""
    rate = {"momentum": 0.0, "step": 1.0, "samples": samples, "warm_up": 0.0}
    config = CONFIG.model_copy(update={"epochs": 3})
    found = searched(two_digits, archgrad.methods.method("shapley", **rate), config=config)
    moved = ["alpha_loss" in line for line in found.metrics]
    assert moved == ([True, True, True] if samples == 2 else [False, False, True])


def test_the_watched_part_leaves_a_whole_batch() -> None:
    """24 images, half of them for alpha: 5 are watched, 7 remain for a batch of 7."""
    data = as_data((torch.rand(24, 1, 8, 8), torch.arange(24) % 2))
    for batch_size, watched in ((7, 5), (8, 0)):
        config = CONFIG.model_copy(update={"batch_size": batch_size, "watch_fraction": 0.42})
        loaders = Loaders.of(data, config, data.augmentation, CPU)
        assert loaders.watch_images == watched


@pytest.mark.parametrize("method", ["fair_darts", "gdas"])
def test_a_method_and_the_guard_serve_a_space_that_keeps_none(
    method: str, two_digits: Data
) -> None:
    """FairDARTS offers no ``none``, and its threshold puts it on weak edges."""
    space = NasBench201(channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=2)
    config = CONFIG.model_copy(update={"epochs": 1, "guard": "warn"})
    found = bilevel_search(space, two_digits, archgrad.methods.method(method), config)
    assert "discrete_accuracy" in found.metrics[0]


# --- refusals ------------------------------------------------------------------------------------


def refused() -> Iterator[Any]:
    yield "stages", {"method": "p_darts", "epochs": 2}, "a search in 3 stages needs at least"
    yield "channels", {"method": "pc_darts", "channels": 6}, "partial channels: 6 channels"
    progressive = {"progressive": 1, "k": 2, "final_k": 4}
    yield "second", {"method": "drnas", "method_options": progressive}, "6 channels in 4 parts"
    yield "rollback", {"method": "darts_pt", "guard": "rollback"}, "guard rollback goes back"
    form = {"form": "adaptive"}
    yield (
        "decay",
        {"method": "robust_darts", "method_options": form, "weight_decay": 0.0},
        ("expected a weight decay above 0"),
    )
    yield "operations", {"space": "s1", "nodes": 3}, "found candidates for 14 edges"
    yield "watched", {"watch_fraction": 0.99}, "watch_fraction: found 0.99"
    yield "guard", {"guard": "nope"}, "guard: found 'nope'"


@pytest.mark.parametrize(
    ("options", "message"), [pytest.param(o, m, id=n) for n, o, m in refused()]
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"channels": 6, "cells": 3, "nodes": 1, "epochs": 3, "batch_size": 8, **options}
    data = torch.rand(32, 1, 8, 8), torch.arange(32) % 2
    with pytest.raises(ArchgradError, match=message):
        archgrad.search(data=data, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
