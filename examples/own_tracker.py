"""A tracker of one's own: a search's numbers as CSV, its options and cells as JSON beside it.

Others plug in the same way. MLflow: ``mlflow.start_run()`` and ``log_params`` in `begin`,
``log_metrics(numbers, step=event.epoch)`` in `epoch_end`, ``log_dict(cells, "cells.json")`` in
`architecture_changed`, ``end_run()`` in `end`. Weights & Biases: ``wandb.init(config=...)``,
``run.log(numbers, step=event.epoch)``, ``run.finish()``.
"""

import csv
from pathlib import Path

import archgrad

COLUMNS = ["epoch", "train_loss", "valid_loss", "valid_accuracy", "entropy"]


class Table(archgrad.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, beginning: archgrad.Beginning) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "options.json").write_text(beginning.config.model_dump_json())
        self.file = (self.folder / "epochs.csv").open("w", newline="")
        self.table = csv.DictWriter(self.file, COLUMNS, extrasaction="ignore")
        self.table.writeheader()
        self.table.writerows(beginning.lines)  # of a resumed run

    def epoch_end(self, event: archgrad.EpochEnd) -> None:
        self.table.writerow(event.metrics)

    def architecture_changed(self, event: archgrad.EpochEnd) -> None:
        (self.folder / f"cells-{event.epoch}.json").write_text(event.architecture.to_json())

    def end(self) -> None:
        self.file.close()


if __name__ == "__main__":
    archgrad.search("s2", epochs=3, channels=4, cells=3, callbacks=[Table(Path("tracked"))])
