"""Classifier and regressor: every kind of array, what they keep, and what they refuse."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from torch import Tensor, nn

import archgrad
from archgrad import (
    ArchgradClassifier,
    ArchgradError,
    ArchgradRegressor,
    Choice,
    Diverged,
    estimators,
)
from archgrad.estimators import REGRESSION, Scale, train
from archgrad.settings.train_config import TrainConfig

TINY: dict[str, Any] = {"epochs": 1, "train_epochs": 1, "batch_size": 8, "random_state": 0}
ROWS = np.random.default_rng(0).normal(size=(24, 3))
LABELS = np.array(["no", "yes"])[(ROWS[:, 0] > 0).astype(int)]


def drawn(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape)


def one_choice(shape: tuple[int, ...], outputs: int) -> nn.Module:
    (features,) = shape
    return Choice({"a": nn.Linear(features, outputs), "b": nn.Linear(features, outputs)}, "layer")


def test_callbacks_hear_of_the_search_also_of_a_clone() -> None:
    heard = []  # a clone has a copy of the callback

    class Heard(archgrad.Callback):
        def epoch_end(self, event: archgrad.EpochEnd) -> None:
            heard.append(event.epoch)

    made = ArchgradClassifier(**{**TINY, "epochs": 2}, model=one_choice, callbacks=[Heard()])
    made.fit(ROWS, LABELS)
    assert heard == [1, 2]
    clone(made).fit(ROWS, LABELS)
    assert heard == [1, 2, 1, 2]


def test_a_rule_is_learned_from_rows() -> None:
    rows = drawn(300, 4)
    learned = {**TINY, "train_epochs": 20, "learning_rate": 0.01}
    labels = np.where(rows[:, 0] * rows[:, 1] > 0, "same", "other")
    found = ArchgradClassifier(**learned).fit(rows[:200], labels[:200])
    assert list(found.classes_) == ["other", "same"]
    assert found.score(rows[200:], labels[200:]) > 0.75  # 0.5 without learning
    targets = 1e6 + 1e-3 * np.abs(rows[:, 0])  # far from 0, in small units
    regressor = ArchgradRegressor(**learned).fit(rows[:200], targets[:200])
    assert regressor.score(rows[200:], targets[200:]) > 0.7  # 0 without learning


@pytest.mark.parametrize(
    ("shape", "kind", "seen", "expected"),
    [
        ((12, 5), "auto", (5,), "tabular"),
        ((12, 2, 9), "auto", (2, 9), "sequence"),
        ((12, 9), "sequence", (1, 9), "sequence"),
        ((12, 3, 6, 5), "auto", (3, 6, 5), "image"),
        ((12, 6, 6), "image", (1, 6, 6), "image"),
    ],
)
@pytest.mark.parametrize("estimator", [ArchgradClassifier, ArchgradRegressor])
def test_arrays_of_every_kind(
    shape: tuple[int, ...], kind: str, seen: tuple[int, ...], expected: str, estimator: Any
) -> None:
    x = drawn(*shape)
    y = np.arange(12) % 3
    found = estimator(kind, **{**TINY, "batch_size": 6}).fit(x, y)
    assert (found.kind_, found.input_shape_) == (expected, seen)
    assert found.result_.space.name == ("own" if expected == "tabular" else "darts-cnn")
    assert found.predict(x).shape == (12,)
    assert not any(isinstance(module, Choice) for module in found.network_.modules())
    standard = torch.tensor(found.scale_.standardized(x.reshape(12, *seen))).float()
    with torch.no_grad():  # what network_ itself says of standardized inputs is what is predicted
        plain = found.network_(standard)
    if estimator is ArchgradClassifier:
        probabilities = plain.softmax(dim=1).numpy()
        np.testing.assert_allclose(found.predict_proba(x), probabilities, atol=1e-5)
    else:
        numbers = found.target_scale_.restored(plain[:, :1].numpy())[:, 0]
        np.testing.assert_allclose(found.predict(x), numbers, atol=1e-4)


def test_a_fit_repeats_and_leaves_torchs_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = ArchgradClassifier(**TINY).fit(ROWS, LABELS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    same = clone(first).fit(ROWS, LABELS)
    other = clone(first).set_params(random_state=1).fit(ROWS, LABELS)
    np.testing.assert_array_equal(first.predict_proba(ROWS), same.predict_proba(ROWS))
    assert (first.predict_proba(ROWS) != other.predict_proba(ROWS)).all()


def test_a_prediction_does_not_depend_on_the_others() -> None:
    images = drawn(12, 1, 6, 6)
    found = ArchgradClassifier(**{**TINY, "batch_size": 6}).fit(images, np.arange(12) % 2)
    alone = np.concatenate([found.predict_proba(images[i : i + 1]) for i in range(12)])
    np.testing.assert_allclose(alone, found.predict_proba(images), rtol=1e-12)


def test_a_fitted_one_can_be_pickled() -> None:
    found = ArchgradRegressor(**TINY).fit(ROWS, ROWS[:, 0])
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(ROWS), found.predict(ROWS))
    assert again.architecture_ == found.architecture_


def test_a_grid_of_numpys_numbers_is_searched() -> None:
    grid = {"batch_size": np.array([6, 8]), "weight_decay": np.array([0.1])}
    found = GridSearchCV(ArchgradClassifier(**TINY), grid, cv=2).fit(ROWS, LABELS)
    assert found.best_params_["batch_size"] in (6, 8)


def test_own_models_and_methods_are_taken() -> None:
    method = archgrad.method("gdas")
    found = ArchgradClassifier(model=one_choice, method=method, **TINY).fit(ROWS, LABELS)
    assert found.result_.method is method
    assert isinstance(found.network_, nn.Linear)
    (cell,) = found.architecture_.cells
    assert cell.name == "layer"
    by_name = ArchgradClassifier(
        method="darts", method_options={"alpha_learning_rate": 0.5}, **TINY
    ).fit(ROWS, LABELS)
    moved = max(float(alpha.abs().max()) for alpha in by_name.result_.alpha.values())
    assert moved > 0.4  # two steps of Adam at that rate


class Viewed(nn.Module):
    """Uses ``view``; its offset and its bias belong to no module that could draw them anew."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *size = shape
        convolutions = {"a": nn.Conv2d(channels, 2, 3, padding=1), "b": nn.Conv2d(channels, 2, 1)}
        self.conv = Choice(convolutions, "conv")
        self.offset = nn.Parameter(torch.zeros(2, 1, 1))
        self.head = nn.Linear(2 * size[0] * size[1], outputs)
        nn.init.constant_(self.head.bias, 7.0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head((self.conv(x) + self.offset).view(len(x), -1))
        return found


def test_training_starts_from_what_the_factory_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[nn.Module] = []

    def noting(network: nn.Module, *rest: Any) -> nn.Module:
        started.append(copy.deepcopy(network))
        return train(network, *rest)

    monkeypatch.setattr(estimators, "train", noting)
    images = drawn(12, 3, 4, 4)
    found = ArchgradClassifier(model=Viewed, **{**TINY, "batch_size": 6})
    found.fit(images, np.arange(12) % 2)
    (network,) = started
    assert isinstance(network, Viewed) and isinstance(found.result_.model, Viewed)
    assert network.offset.abs().max() == 0 and found.result_.model.offset.abs().max() > 0
    assert network.head.bias.tolist() == [7.0, 7.0]


def test_a_regressor_reports_no_accuracy() -> None:
    found = ArchgradRegressor(**TINY).fit(ROWS, ROWS[:, 0])
    (line,) = found.result_.metrics
    assert line["valid_metric"] == -line["valid_loss"]
    assert not {"valid_accuracy", "train_accuracy"} & line.keys()


def test_training_solves_a_linear_problem() -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[1.0, -2.0, 0.5]])
    y = (x @ weight.T)[:, 0] + 0.25
    config = TrainConfig(
        epochs=150, batch_size=16, learning_rate=0.05, weight_decay=0, device="cpu"
    )
    network = train(nn.Linear(3, 1), x, y, REGRESSION, config)
    assert not network.training
    torch.testing.assert_close(network.weight.data, weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(network.bias.data, torch.tensor([0.25]), atol=1e-4, rtol=0)


def test_training_that_diverges_says_so() -> None:
    x, config = torch.ones(8, 2), TrainConfig(epochs=3, batch_size=4, learning_rate=1e30)
    with pytest.raises(Diverged, match="epoch 1; try a learning rate below 1e\\+30"):
        train(nn.Linear(2, 1), x, torch.ones(8), REGRESSION, config)


def test_scale_is_that_of_each_channel() -> None:
    x = np.zeros((2, 3, 2))
    x[:, 0] = [[1, 3], [5, 7]]
    x[:, 1] = 0.1
    scale = Scale.of(x)
    assert scale.mean.ravel() == pytest.approx([4, 0.1, 0])
    assert scale.deviation.ravel() == pytest.approx([5**0.5, 1, 1])
    np.testing.assert_allclose(scale.restored(scale.standardized(x)), x)


@pytest.mark.parametrize(
    ("x", "y", "options", "told"),
    [
        (ROWS, np.zeros(24), {}, "y holds 1 class, .*at least two"),
        (ROWS[:3], LABELS[:3], {}, "3 sample.*minimum of 4"),
        (np.where(ROWS > 0, np.nan, ROWS), LABELS, {}, "NaN"),
        (ROWS, ROWS[:, 0], {}, "Unknown label type"),
        (np.zeros((24, 1, 1, 4, 4)), LABELS, {}, "X has 5 axes; expected tabular"),
        (ROWS, LABELS, {"kind": "image"}, r"2 axes and the kind image; expected \(N, channels"),
        (ROWS[:, None], LABELS, {"kind": "tabular"}, "3 axes and the kind tabular"),
        (ROWS, LABELS, {"kind": "table"}, '"table"; expected one of auto, tabular'),
        (np.zeros((24, 2, 0)), LABELS, {}, r"shape \(24, 2, 0\); expected no axis of length 0"),
        (ROWS, LABELS, {"epochs": 0}, "epochs: found 0"),
        (ROWS, LABELS, {"train_epochs": 0}, "train.epochs: found 0"),
        (ROWS, LABELS, {"batch_size": 1}, "batch_size: found 1"),
        (ROWS, LABELS, {"method": "dart"}, 'did you mean "darts"'),
        (ROWS, LABELS, {"method": 3}, "method: found 3"),
        (ROWS, LABELS, {"method": "pc_darts"}, "use another method"),
        (ROWS, LABELS, {"model": nn.Linear(3, 2)}, "model is a Linear; expected a function"),
        (ROWS, LABELS, {"model": "mlp"}, "model is a str; expected a function"),
        (ROWS, LABELS, {"model": lambda *_: 3}, "model is a function that returns a int"),
    ],
)
def test_what_fit_refuses(x: Any, y: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ArchgradClassifier(**{**TINY, **options}).fit(x, y)


def test_what_predict_refuses() -> None:
    with pytest.raises(NotFittedError):
        ArchgradRegressor().predict(ROWS)
    with pytest.raises(TypeError, match="[Ss]parse"):
        ArchgradRegressor().fit(sparse.csr_array(ROWS), ROWS[:, 0])
    found = ArchgradRegressor(**TINY).fit(ROWS, ROWS[:, 0])
    with pytest.raises(ValueError, match="2 features, but ArchgradRegressor is expecting 3"):
        found.predict(ROWS[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        found.predict(np.full((2, 3), np.nan))
    series = ArchgradRegressor(**TINY).fit(drawn(12, 2, 9), np.arange(12))
    with pytest.raises(ArchgradError, match=r"\(2, 8\); expected \(2, 9\), as in fit"):
        series.predict(np.zeros((3, 2, 8)))
