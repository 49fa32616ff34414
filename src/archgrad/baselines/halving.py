"""Successive halving: short trainings for many architectures, long ones for the best of them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from archgrad.baselines.decisions import Decisions
from archgrad.baselines.value import Proposal, Search, Strategy
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace

if TYPE_CHECKING:
    from optuna.study import Study


@dataclass(frozen=True)
class Halving:
    """See `halving`."""

    eta: int
    rungs: int

    def __post_init__(self) -> None:
        if self.eta < 2:
            raise ArchgradError(f"option eta of halving: found {self.eta}, expected at least 2")
        if self.rungs < 1:
            raise ArchgradError(f"option rungs of halving: found {self.rungs}, expected at least 1")
        if importlib.util.find_spec("optuna") is None:
            raise ArchgradError(
                "baseline halving needs the package optuna, which is not installed; run: pip "
                'install "archgrad[hpo]"'
            )

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Search:
        from optuna.trial import TrialState

        study = _study(self.eta)
        for architecture in Decisions.of(space).different(generator):
            trial, pruned = study.ask(), False
            for rung in range(self.rungs):
                share = self.eta**rung / self.eta ** (self.rungs - 1)
                score = yield Proposal(architecture, share)
                trial.report(score, step=self.eta**rung)
                pruned = rung + 1 < self.rungs and trial.should_prune()
                if pruned:
                    break
            if pruned:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, score)


def _study(eta: int) -> Study:
    """In memory and without a line in the log; the sampler is never asked."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta),
        )
    finally:
        optuna.logging.set_verbosity(verbosity)


def halving(*, eta: int = 3, rungs: int = 3) -> Strategy:
    r"""Asynchronous successive halving of uniform draws, none twice (arXiv:1810.05934), by optuna.

    An architecture is trained for the share :math:`\eta^{1 - rungs}` of the full training, and each
    time that it is among the best 1/`eta` of those that were trained so long, or as good, it is
    proposed again, with a share `eta` times as large, until that is 1. It ends when the space has
    no other architecture. Needs the extra `hpo`.

    Differs from the synchronous form (arXiv:1502.07943): there is no fixed number of architectures,
    so it can be stopped at any time. Differs from the paper as optuna does: an architecture goes on
    at once or never, compared with those before it, and of the first `eta` - 1 at a rung each
    that is the best so far goes on.
    """
    return Halving(eta, rungs)
