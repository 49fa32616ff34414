"""scikit-learn's own checks of an estimator, for both."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from archgrad import ArchgradClassifier, ArchgradRegressor

BUDGET: dict[str, Any] = {"epochs": 1, "train_epochs": 12, "batch_size": 32, "learning_rate": 0.02}


@parametrize_with_checks([ArchgradClassifier(**BUDGET), ArchgradRegressor(**BUDGET)])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
