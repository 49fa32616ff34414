"""The learning rates of a retraining, epoch by epoch, in closed form."""

from __future__ import annotations

from archgrad.settings.train_config import TrainConfig
from archgrad.system.loops import cosine


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The learning rate of an epoch counted from 0.

    With E epochs and a rate of r at the start: `cosine`: r (1 + cos(pi epoch / E)) / 2
    (arXiv:1806.09055); `step`: r decay^(epoch // decay_epochs) (the same, for ImageNet);
    `linear`: r (1 - epoch / E), or with t `tail_epochs` r (E - t - epoch) / (E - t), and in the
    last t of them r (E - epoch) / ((E - t) t), as the published code of arXiv:1907.05737 has it;
    `constant`: r (arXiv:1806.09055, for language models).
    In the first w `warm_up_epochs` that is multiplied by (epoch + 1) / w, as the same code does.
    """
    rise = min(1.0, (epoch + 1) / config.warm_up_epochs) if config.warm_up_epochs else 1.0
    return rise * _falling(config, epoch)


def _falling(config: TrainConfig, epoch: int) -> float:
    start, epochs = config.learning_rate, config.epochs
    if config.schedule == "constant":
        return start
    if config.schedule == "cosine":
        return cosine(start, 0.0, epoch, epochs)
    if config.schedule == "step":
        return start * config.decay ** (epoch // config.decay_epochs)
    tail, left = config.tail_epochs, epochs - epoch
    if left > tail:
        return start * (left - tail) / (epochs - tail)
    return start * left / ((epochs - tail) * tail)
