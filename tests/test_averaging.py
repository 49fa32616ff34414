"""The moving average of weights against sums worked out by hand."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from archgrad.retraining.averaging import Average
from archgrad.retraining.scratch import load_data, retrain
from archgrad.retraining.training import Training
from archgrad.spaces.darts_cnn import DartsCNN
from helpers import CELL, DATA, job, same

SPACE = DartsCNN(channels=2, cells=3, image_size=(8, 8))
BOTH = ("stem0.0.weight", "stem0.1.running_var", "classifier.bias")


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_the_weighted_mean_of_the_steps(decay: float) -> None:
    network = SPACE.derive(CELL)
    average = Average(network, decay)
    steps: list[dict[str, torch.Tensor]] = []
    for step in range(1, 4):
        for number, tensor in enumerate(network.state_dict().values()):
            tensor.fill_(10 * step**2 + number)
        average.update()
        steps.append({name: t.clone() for name, t in network.state_dict().items()})
    factors = [decay**2, decay, 1.0]
    for name in BOTH:
        mean = sum(f * s[name] for f, s in zip(factors, steps)) / sum(factors)
        torch.testing.assert_close(average.network.state_dict()[name], mean)
    counter = average.network.state_dict()["stem0.1.num_batches_tracked"]
    assert counter == steps[-1]["stem0.1.num_batches_tracked"]


def test_the_weights_before_the_first_step_do_not_count() -> None:
    network = SPACE.derive(CELL)
    average = Average(network, 0.999)
    before = network.classifier.bias.detach().clone()
    with torch.no_grad():
        network.classifier.bias.add_(1)
    average.update()
    torch.testing.assert_close(average.network.state_dict()["classifier.bias"], before + 1)


def test_the_average_is_what_is_tested_and_kept(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made, data = job(tmp_path / "a", ema=0.9, epochs=1), load_data(DATA)[0]
    score, network = retrain(made, data)
    assert same(dict(network.state_dict()), load_file(tmp_path / "a" / "weights.safetensors"))
    plain, last = retrain(job(epochs=1), data)
    assert score["train_loss"] == plain["train_loss"]  # training does not see it
    assert not torch.equal(network.classifier.bias, last.classifier.bias)
    assert not torch.equal(network.stem0[1].running_mean, last.stem0[1].running_mean)


def test_without_decay_there_is_none() -> None:
    data, augmentation = load_data(DATA)
    training = Training(job(), data, augmentation, torch.device("cpu"))
    assert training.average is None
    assert training.result is training.network
