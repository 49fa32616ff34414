"""A limit of cost: from the options of a search to its parts, and whether the result meets it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import torch

from archgrad.architecture import Architecture
from archgrad.costing.cost import cost
from archgrad.costing.costs import CostTable, Kind, cost_table
from archgrad.costing.latency import network_latency
from archgrad.costing.walking import check_apart
from archgrad.errors import ArchgradError
from archgrad.parts.cost import CostPenalty, CostRatio, ExpectedCost
from archgrad.parts.feasible import Feasible, cheapest, within
from archgrad.parts.method import Method
from archgrad.retraining.sizing import retrained
from archgrad.searching.leg import offered
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.settings.units import LIMITS, shown
from archgrad.spaces import SearchSpace
from archgrad.storage.files import write
from archgrad.storage.folder import Run, device_name

TABLE, REPORT = "costs.json", "limit.json"
WEIGHTS = {"limit": 0.1, "penalty": 0.1, "ratio": 0.3}  # of ProxylessNAS


@dataclass(frozen=True)
class Limit:
    """What the options say: the `option` and its `text`, the kind of cost, and the value."""

    option: str
    text: str
    kind: Kind
    value: float

    @classmethod
    def of(cls, config: SearchConfig) -> Limit | None:
        """The limit of a search, if it has one."""
        for option, (kind, read) in LIMITS.items():
            if (text := getattr(config, option)) is not None:
                return cls(option, text, kind, read(text))  # type: ignore[arg-type]
        return None

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.option.replace('_', '-')} {self.text}"


@dataclass(frozen=True)
class CostReport:
    """Whether a derived network meets the limit.

    `predicted`: by the table; `found`: exact parameters or multiply-adds, or the measured
    latency in ms, None where it cannot be measured here; `size`: of the network; `advice`: what
    to try where the limit is not met.
    """

    kind: Kind
    limit: float
    predicted: float
    found: float | None
    size: str
    advice: str | None = None

    @property
    def value(self) -> float:
        """What is compared with the limit: found, where it is known."""
        return self.predicted if self.found is None else self.found

    @property
    def met(self) -> bool:
        """Whether the derived network meets the limit."""
        return within(self.value, self.limit)

    def __str__(self) -> str:
        cost = shown(self.kind, self.value)
        if self.kind == "latency":
            cost += " as predicted (not measured: the device is not here)"
            if self.found is not None:
                error = abs(self.predicted - self.found) / self.found
                cost = f"{shown(self.kind, self.found)} measured, {self.predicted:.4g} predicted "
                cost += f"(error {error:.1%})"
        share = self.value / self.limit - 1
        verdict = "met" if self.met else f"NOT met, {share:.1%} too much"
        lines = f"cost     {cost}, {self.size}; limit {shown(self.kind, self.limit)}: {verdict}"
        return lines if self.met or self.advice is None else f"{lines}; {self.advice}"


@dataclass(frozen=True)
class Budget:
    """A limit that a search shall keep, for networks of `space`, by a table of costs."""

    limit: Limit
    table: CostTable
    space: SearchSpace
    size: str
    form: Literal["limit", "penalty", "ratio"]
    weight: float

    @classmethod
    def of(cls, config: RunConfig, space: SearchSpace, method: Method) -> Budget | None:
        """The budget of a configuration, for networks at the size of the retraining, if any.

        Refuses a limit that no architecture meets or that all do, and a table of something else.
        """
        search, train = config.search, config.train
        limit = None if search is None else Limit.of(search)
        if search is None or limit is None:
            return None
        check_apart(space)
        size = "at the size of the search"
        if train is not None:
            space = retrained(space, train)
            size = f"at the size of the retraining ({train.channels} channels, {train.cells} cells)"
        if limit.kind == "latency":
            table = _latency_table(search, space)
        else:
            table = _exact(cost_table(space, limit.kind))
        weight = WEIGHTS[search.cost_form] if search.cost_weight is None else search.cost_weight
        found = cls(limit, table, space, size, search.cost_form, weight)
        found._check(offered(space, method), method)
        return found

    def _check(self, space: SearchSpace, method: Method) -> None:
        if self.form == "penalty":
            return
        least = cheapest(self.table, space.groups)
        if self.form == "limit" and not within(least, self.limit.value):
            smaller = "or offer cheaper candidates"
            if space.input_shape is not None:
                smaller = "or use fewer channels or cells, or smaller images"
            raise ArchgradError(
                f"{self.limit.flag} cannot be met: the cheapest architecture of space {space.name} "
                f"{self.size} costs {shown(self.limit.kind, least)}; expected at least that: raise "
                f"the limit, {smaller}"
            )
        if self.form == "ratio" and min(least, self.limit.value) <= 1:
            raise ArchgradError(
                f"--cost-form ratio takes logarithms of costs above 1, found "
                f"{min(least, self.limit.value):.3g} ms; use --cost-form penalty"
            )
        if self.form == "limit" and method.selection is not None:
            raise ArchgradError(
                f"{self.limit.flag} is kept by the discretization of alpha, and this method's "
                "selection judges the supernet instead; use another method, or --cost-form penalty"
            )

    def applied(self, method: Method) -> Method:
        """The method with the expected cost in alpha's loss, and a discretization that minds it."""
        expected = ExpectedCost(self.table)
        reference = self.limit.value
        if self.form == "ratio":
            ratio = CostRatio(method.hypergradient, expected, reference, exponent=self.weight)
            return replace(method, hypergradient=ratio)
        penalty = CostPenalty(expected, reference, self.weight, above=self.form == "limit")
        method = replace(method, regularizers=(*method.regularizers, penalty))
        return _limited(method, self.table, self.limit) if self.form == "limit" else method

    def report(self, architecture: Architecture) -> CostReport:
        """What the derived network costs; a latency is measured, where the device is here."""
        kind, about = self.limit.kind, self.table.about
        predicted = self.table.predict(architecture)
        if kind != "latency":
            found: float | None = float(getattr(cost(self.space, architecture), kind))
        else:
            device = _device_here(str(about.get("device_name")))
            batch, threads = int(about.get("batch", 1)), int(about.get("threads", 1))
            found = None
            if device is not None:
                found = network_latency(self.space, architecture, device, batch, threads).median
        report = CostReport(kind, self.limit.value, predicted, found, self.size)
        return report if report.met else replace(report, advice=self._advice(report))

    def _advice(self, report: CostReport) -> str:
        if self.form != "limit":
            return f"try --cost-form limit, or a --cost-weight above {self.weight:g}"
        if within(report.predicted, self.limit.value):
            lower = self.limit.value * report.predicted / report.value
            return (
                "the prediction meets it: measure again on a quiet device, or ask for at most "
                f"{shown(self.limit.kind, lower)}"
            )
        return (
            "the candidates that were left at the end allow no less: try a method without stages, "
            f"a higher limit, or a --cost-weight above {self.weight:g}"
        )

    def keep(self, run: Run) -> None:
        """Write the table to the run folder, for `kept`."""
        write(run.path / TABLE, self.table.to_json())


def kept(run: Run, config: SearchConfig, method: Method) -> Method:
    """The method of a run with the limit that the run kept, from the table in its folder."""
    limit = Limit.of(config)
    if limit is None or config.cost_form != "limit":
        return method
    return _limited(method, CostTable.load(run.path / TABLE), limit)


def _limited(method: Method, table: CostTable, limit: Limit) -> Method:
    return replace(method, discretization=Feasible(method.discretization, table, limit.value))


def _exact(table: CostTable) -> CostTable:
    """The table of parameters or multiply-adds, if its sums are those of derived networks."""
    if table.error > 0:
        raise ArchgradError(
            f"the {table.kind.replace('_', '-')} of this model do not add up choice by choice: "
            f"sums of what its candidates cost differ by {table.error:.1%} from derived networks, "
            "expected no difference; let no two choices share weights, and no candidate change "
            "what runs outside its choice, or leave the limit out"
        )
    return table


def _latency_table(search: SearchConfig, space: SearchSpace) -> CostTable:
    """The table that the options name, if it is of this space and of the device meant."""
    path = str(search.latency_table)
    table, where = CostTable.load(path), f"latency table {path}"
    if table.kind != "latency":
        raise ArchgradError(
            f"{where} holds {table.kind}, expected a latency; make it with archgrad measure-latency"
        )
    found, wanted = str(table.about.get("device_name")), search.latency_device
    if wanted is not None and found != wanted:
        raise ArchgradError(
            f'{where} was measured on "{found}", expected "{wanted}"; give the table of that device'
        )
    if wanted is None and _device_here(found) is None:
        here = ", ".join(f'"{device_name(torch.device(d))}"' for d in _devices())
        raise ArchgradError(
            f'{where} was measured on "{found}", this machine has {here}; measure here with '
            f'archgrad measure-latency, or say --latency-device "{found}" if you mean that device'
        )
    table.check_fits(space, where)
    return table


def _devices() -> list[str]:
    return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def _device_here(name: str) -> str | None:
    """The device of this machine that has this name."""
    return next((d for d in _devices() if device_name(torch.device(d)) == name), None)


def range_of(table: CostTable, space: SearchSpace) -> tuple[float, float]:
    """Between which predictions a limit has an effect: of the cheapest, and of a random network."""
    usual = median(predicted for predicted, _ in table.about["checked_ms"])
    return cheapest(table, space.groups), usual
