"""The examples with scikit-learn's interface: each runs and prints every model it compares."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("sklearn_tabular", ["ArchgradRegressor", "RidgeCV", "RandomForestRegressor"]),
        ("sklearn_images", ["ArchgradClassifier", "SVC"]),
        ("sklearn_sequences", ["ArchgradClassifier", "SVC", "RandomForestClassifier"]),
    ],
)
def test_it_prints_a_score_of_every_model(
    name: str,
    models: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "2 random splits" in lines[0] or "2 draws" in lines[0]
    told = [re.fullmatch(r"(\w+) +(-?\d\.\d+) ± \d\.\d+", line) for line in lines[1:]]
    scores = {match[1]: float(match[2]) for match in told if match}
    assert list(scores) == models
    assert all(score <= 1 for score in scores.values())


def test_no_generated_wave_is_louder_than_another() -> None:
    made = runpy.run_path(str(EXAMPLES / "sklearn_sequences.py"))
    x, labels = made["waves"](600, 0)
    assert x.shape == (600, 1, 64)
    power = [np.square(x[labels == label]).sum(axis=(1, 2)).mean() for label in range(3)]
    assert power == pytest.approx([64 * 0.8**2 + 24] * 3, rel=0.05)  # noise and wave
