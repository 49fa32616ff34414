"""ArchgradClassifier on small images, against a support vector machine on their pixels.

scikit-learn's 1,797 digits of 8x8 pixels; the default space is darts-cnn. Both models see the same
random splits, three quarters to train and a quarter to test, and nothing is tuned on the test
parts. Printed are mean and standard deviation of the accuracy over the splits. Some minutes on one
thread; with --quick some seconds, which say nothing about the models.
"""

import sys
from statistics import fmean, stdev
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from archgrad import ArchgradClassifier


def main(seeds: int, budget: dict[str, Any]) -> None:
    digits = load_digits()
    images, labels = digits.images, digits.target
    if budget:
        images, labels = images[:200], labels[:200]
    scores: dict[str, list[float]] = {"ArchgradClassifier": [], "SVC": []}
    for seed in range(seeds):
        split = train_test_split(images, labels, stratify=labels, random_state=seed)
        x_train, x_test, y_train, y_test = split
        ours = ArchgradClassifier("image", random_state=seed, **budget).fit(x_train, y_train)
        scores["ArchgradClassifier"].append(ours.score(x_test, y_test))
        plain = SVC().fit(x_train.reshape(-1, 64), y_train)
        scores["SVC"].append(plain.score(x_test.reshape(-1, 64), y_test))
    print(f"accuracy on the test part, {seeds} random splits")
    for name, found in scores.items():
        print(f"{name:18} {fmean(found):.4f} ± {stdev(found):.4f}")
    gaps = [a - b for a, b in zip(*scores.values(), strict=True)]
    print(f"ArchgradClassifier - SVC: {fmean(gaps):+.4f} ± {stdev(gaps):.4f}")
    print(f"the cells of the last search:\n{ours.architecture_}")


if __name__ == "__main__":
    if "--quick" in sys.argv:
        main(2, {"epochs": 1, "train_epochs": 1})
    else:
        main(3, {})
