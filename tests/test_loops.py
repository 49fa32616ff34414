"""What both loops share: schedules, seeds, devices, evaluation, and the search for bad losses."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.system import loops
from archgrad.system.loops import Meter, accuracy, cosine, evaluate, resolve_device, seeded

CPU = torch.device("cpu")


# --- learning rate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "epoch", "epochs", "expected"),
    [
        (0.025, 0.001, 49, 50, 1.0236793e-3),  # a log of the original search
        (0.025, 0.0, 410, 600, 5.692012e-3),  # a log of the original retraining
        (0.025, 0.001, 0, 50, 0.025),
        (0.025, 0.001, 25, 50, 0.013),
        (0.025, 0.001, 50, 50, 0.001),
    ],
)
def test_cosine(start: float, end: float, epoch: int, epochs: int, expected: float) -> None:
    assert cosine(start, end, epoch, epochs) == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 50), st.floats(0.01, 1), st.floats(0, 0.01))
def test_cosine_equals_torchs_schedule(epochs: int, start: float, end: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], start)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=end)
    for epoch in range(epochs):
        assert cosine(start, end, epoch, epochs) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


# --- evaluation --------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_right_labels() -> None:
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [-1.0, -2.0]])
    found = accuracy(logits, torch.tensor([1, 0, 0, 1]))
    assert float(found) == 0.5
    assert found.shape == ()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99))
def test_evaluation_is_over_images_whatever_the_batches(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), 3, generator=generator)
    target = torch.randint(3, (sum(sizes),), generator=generator)
    loss, right = evaluate(lambda x: 2 * x, zip(x.split(sizes), target.split(sizes)))
    assert loss == pytest.approx(float(F.cross_entropy(2 * x, target)), rel=1e-5)
    assert right == pytest.approx(float(accuracy(x, target)))


def test_evaluation_records_no_graph() -> None:
    model, seen = nn.Linear(2, 2), []

    def forward(x: Tensor) -> Tensor:
        seen.append(model(x))
        return seen[-1]

    loss, right = evaluate(forward, [(torch.zeros(1, 2), torch.tensor([0]))])
    assert not seen[0].requires_grad
    assert type(loss) is type(right) is float


def test_no_images_are_an_error() -> None:
    with pytest.raises(ArchgradError, match="no images to evaluate; give a data set with some"):
        evaluate(lambda x: x, [])


# --- meter -------------------------------------------------------------------------------------


def metered(check_every: int, *losses: float) -> Meter:
    meter = Meter(check_every)
    for value in losses:
        meter.add(loss=torch.tensor(value), accuracy=torch.tensor(0.5))
        meter.next()
    return meter


def test_means_are_over_the_steps() -> None:
    assert metered(1, 1.0, 2.0, 6.0).means() == {"loss": 3.0, "accuracy": 0.5}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_value_is_located(bad: float) -> None:
    assert metered(1, 1.0, bad, 2.0, bad).first_bad() == ("loss", 1)
    assert metered(1, 1.0, 2.0).first_bad() is None
    assert Meter(1).first_bad() is None


def test_bad_values_are_looked_for_every_few_steps_and_at_the_end() -> None:
    assert metered(3, 1.0, math.nan).first_bad() is None
    assert metered(3, 1.0, math.nan).first_bad(last=True) == ("loss", 1)
    assert metered(3, 1.0, math.nan, 1.0).first_bad() == ("loss", 1)


def test_a_bad_value_of_another_name_is_told_by_it() -> None:
    meter = Meter(1)
    meter.add(train=torch.tensor(1.0), valid=torch.tensor(math.nan))
    assert meter.first_bad() == ("valid", 0)


def test_the_meter_keeps_no_graph() -> None:
    meter, weight = Meter(1), torch.ones((), requires_grad=True)
    meter.add(loss=2 * weight)
    assert not meter.values["loss"][0][0].requires_grad


def test_a_cpu_looks_at_every_step_and_a_gpu_seldom() -> None:
    assert loops.check_interval(CPU) == 1
    assert loops.check_interval(torch.device("cuda")) > 10


# --- devices -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "known"),
    [(0, "auto, cpu"), (1, "auto, cpu, cuda, cuda:0"), (2, "auto, cpu, cuda, cuda:0, cuda:1")],
)
def test_an_unknown_device_lists_the_valid_ones(
    count: int, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    for name in ("gpu", f"cuda:{count}" if count else "tpu", "", "cpu:0"):
        with pytest.raises(ArchgradError, match=f'device "{name}" is not known.*Known: {known}$'):
            resolve_device(name)
    for name in known.split(", "):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ArchgradError, match=f'"{name}": there is no CUDA GPU here; use cpu or aut'):
        resolve_device(name)


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cpu") == CPU


def test_a_model_is_placed_in_channels_last_order() -> None:
    model = loops.placed(nn.Conv2d(3, 4, 3), CPU)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


def test_peak_memory_is_that_of_this_process_in_mb() -> None:
    assert 50 < loops.peak_memory_mb(CPU) < 50_000


# --- randomness --------------------------------------------------------------------------------


def test_seeded_repeats_and_leaves_the_state_outside_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed, 1, CPU):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_sets_threads_and_restores_all_after_an_error() -> None:
    threads = torch.get_num_threads()
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(1, threads + 1, CPU):
        assert torch.get_num_threads() == threads + 1
        torch.rand(1)
        raise KeyError
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_state_can_be_taken_up_again() -> None:
    with seeded(3, 1, CPU):
        torch.rand(7)
        states = loops.random_state(CPU)
        expected = torch.rand(5)
        torch.rand(11)
        loops.restore_random_state(states, CPU)
        assert torch.equal(torch.rand(5), expected)
    assert set(states) == {"cpu"}


def test_the_earliest_bad_value_is_named() -> None:
    meter = Meter(50)
    meter.add(train=torch.tensor(1.0))
    meter.next()
    meter.add(train=torch.tensor(1.0), valid=torch.tensor(float("nan")))
    meter.next()
    meter.add(train=torch.tensor(float("nan")), valid=torch.tensor(float("nan")))
    assert meter.first_bad(last=True) == ("valid", 1)


def test_keeping_freed_memory_changes_no_result() -> None:
    code = (
        "import torch\nfrom archgrad.system.allocation import keep_freed_memory\n"
        "from archgrad.system.loops import peak_memory_mb\n"
        "keep_freed_memory(); x = torch.ones(300, 1000); del x\n"
        "print(float(torch.ones(500, 1000).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "500000.0"
