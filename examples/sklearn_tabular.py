"""ArchgradRegressor on a small table, against a ridge regression and a random forest.

scikit-learn's diabetes data, 442 patients with 10 features. Every model sees the same random
splits, three quarters to train and a quarter to test; printed are mean and standard deviation of R2
over the splits, which share patients, so the deviation understates the doubt. Nothing is tuned on
the test parts. Below a minute; with --quick some seconds, which say nothing about the models.
"""

import sys
from statistics import fmean, stdev
from typing import Any

from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from archgrad import ArchgradRegressor


def models(seed: int, budget: dict[str, Any]) -> dict[str, Any]:
    return {
        "ArchgradRegressor": ArchgradRegressor(random_state=seed, **budget),
        "RidgeCV": make_pipeline(StandardScaler(), RidgeCV()),
        "RandomForestRegressor": RandomForestRegressor(random_state=seed),
    }


def main(seeds: int, budget: dict[str, Any]) -> None:
    x, y = load_diabetes(return_X_y=True)
    scores: dict[str, list[float]] = {}
    for seed in range(seeds):
        split = train_test_split(x, y, test_size=0.25, random_state=seed)
        x_train, x_test, y_train, y_test = split
        for name, model in models(seed, budget).items():
            fitted = model.fit(x_train, y_train)
            scores.setdefault(name, []).append(fitted.score(x_test, y_test))
    print(f"R2 on the test part, {seeds} random splits")
    for name, found in scores.items():
        print(f"{name:22} {fmean(found):6.3f} ± {stdev(found):.3f}")
    ours, *others = scores
    for other in others:
        gaps = [a - b for a, b in zip(scores[ours], scores[other], strict=True)]
        print(f"{ours} - {other}: {fmean(gaps):+.3f} ± {stdev(gaps):.3f}")


if __name__ == "__main__":
    if "--quick" in sys.argv:
        main(2, {"epochs": 1, "train_epochs": 2})
    else:
        main(10, {})
