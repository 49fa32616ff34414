"""Another architecture from a search that is done: of an earlier epoch, or by another rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError, unknown
from archgrad.kernels import native
from archgrad.networks.supernet import Alpha
from archgrad.parts.discretization import SkipLimit, StrongestEdges, Threshold
from archgrad.parts.method import Method
from archgrad.parts.selection import Perturbation
from archgrad.parts.state import State
from archgrad.preparing.prepared import Prepared, search_space, section
from archgrad.searching.bilevel import BilevelSearch
from archgrad.searching.groups import Groups
from archgrad.searching.tuning import Tuning
from archgrad.settings.config import OWN
from archgrad.storage.files import ALPHAS, GROUPS, read_lines
from archgrad.storage.folder import Run, fitting
from archgrad.system.loops import resolve_device, seeded

RULES: dict[str, Callable[[Alpha, State], tuple[Cell, ...]]] = {
    "strongest": StrongestEdges(),
    "skip_limit": SkipLimit(),
    "threshold": Threshold(),
}
PERTURBATION = "perturbation"


def with_rule(method: Method, rule: str | None) -> Method:
    """The method with the discretization of that name (None: its own)."""
    if rule is None:
        return method
    if rule not in RULES:
        raise unknown("rule", rule, [*RULES, PERTURBATION])
    return replace(method, discretization=RULES[rule])


def groups_of(run: Run, method: Method) -> Groups:
    """What the search of a run decides; of a space from Python what its folder holds."""
    config = section(run.config)
    if config.space == OWN and (run.path / GROUPS).is_file():
        return Groups.load(run.path)
    return Groups.of(search_space(config, None), method)


def derive(run: Run, method: Method, epoch: int | None = None) -> Architecture:
    """The discretization of a finished or running search, of its last or of the given epoch."""
    decided = groups_of(run, method)
    lines = read_lines(run.path / ALPHAS)
    epochs = [line.get("epoch") for line in lines]
    chosen = next((line for line in lines if line.get("epoch") == (epoch or epochs[-1])), None)
    if chosen is None:
        raise ArchgradError(
            f"run {run.path} has no epoch {epoch or 1}; "
            + (f"expected {epochs[0]} to {epochs[-1]}" if epochs else "it finished none so far")
        )
    with fitting(run.path / ALPHAS):
        groups, alpha = decided.at(chosen)
        if any(tuple(alpha[group.name].shape) != group.shape for group in groups):
            raise ValueError("other groups than the search")
        state = State(
            problem=None,  # type: ignore[arg-type]
            relaxation=method.relaxation,
            groups=groups,
            progress=chosen["epoch"] / section(run.config).epochs,
        )
        return Architecture(space=decided.space, cells=method.discretization(alpha, state))


def derive_by_perturbation(run: Run, prepared: Prepared, epochs: int) -> Architecture:
    """Perturbation-based selection from the supernet of any finished search, with its data.

    `epochs`: of tuning between decisions. The run's checkpoint is read, not changed.
    """
    config = section(prepared.config)
    device = resolve_device(config.device)
    selection = Perturbation(epochs)
    assert isinstance(prepared.method, Method)
    replace(prepared.method, selection=selection)  # refuses what does not go together
    random = seeded(config.seed, config.threads, device)
    with run.working(), native.use(config.kernel), random:
        search = BilevelSearch(
            prepared.space,
            prepared.data,
            prepared.method,
            config,
            prepared.augmentation,
            device,
            run,
        )
        if search.done < config.epochs and search.verdict is None:
            raise ArchgradError(
                f"run {run.path} has done {search.done} of {config.epochs} epochs; finish it with "
                f"archgrad search --resume {run.path}, then select"
            )
        cells = selection(Tuning(search))
    return Architecture(space=prepared.space.name, cells=cells)
