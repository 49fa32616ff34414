"""The field's checklist of best practices, and what of it a comparison fulfils.

After Lindauer and Hutter, Best Practices for Scientific Research on Neural Architecture Search,
JMLR 21(243), 2020 (arXiv:1909.02453): the numbers in brackets are those of its practices. Items
without a number are this library's own. Every item is decided from the values of the
`archgrad.findings.results.Results`; what these do not tell is left open.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from archgrad.findings.results import Entry, Results
from archgrad.findings.statistics import RANDOM, pairs_needed

FEWEST = 4  # searches of a method: seeds alone reorder methods whose gains are small
SLACK = 0.1  # of the budget: so much may be left where the next step would not have fitted
SETUP = ("archgrad", "torch", "python", "device")  # of environment.json
MARKS = {True: "[x]", False: "[ ]", None: "[?]"}


class Item(NamedTuple):
    """A practice, and whether it is fulfilled (None: not known), with the finding that says so."""

    practice: str
    fulfilled: bool | None
    finding: str


def checklist(results: Results) -> list[Item]:
    """Every item, in the order of the paper."""
    return [
        Item("code of training and search is known (1, 2, 3)", *_code(results)),
        Item("one search space for all (4)", *_space(results)),
        Item("the same data for all (4)", *_same(results, ("data",))),
        Item("ablations (5)", None, "not known: yours to say"),
        Item("the same retraining for all (6)", *_same(results, ("short", "full"))),
        Item("selected on data that no search saw (6)", *_selection(results)),
        Item("test data read once, at the end (6)", *_test(results)),
        Item("an equal budget for all", *_budget(results)),
        Item(f"{results.measure} over what was spent (7)", *_anytime(results)),
        Item("random search among the methods (8)", *_random(results)),
        Item("random sampling among the methods (8)", *_sampling(results)),
        Item(f"at least {FEWEST} searches a method (9)", *_searches(results)),
        Item(f"a test that can reach 0.05: {pairs_needed()} seeds (9)", *_power(results)),
        Item("no search is lost (9)", *_lost(results)),
        Item("a benchmark with a table or surrogate (10)", *_table(results)),
        Item("one setup: versions and hardware (11, 14)", *_setup(results)),
        Item("the same numbers when repeated (11)", *_repeatable(results)),
        Item("searches are watched for collapse", *_guard(results)),
        Item("how hyperparameters were tuned (12)", *_tuning(results)),
        Item("cost of all phases (13)", *_costs(results)),
    ]


def lines(items: Sequence[Item], width: int = 100) -> list[str]:
    """For the terminal: [x] fulfilled, [ ] not, [?] not known."""
    found: list[str] = []
    for item in items:
        line = f"{MARKS[item.fulfilled]} {item.practice}: {item.finding}"
        found += textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)
    return found


Finding = tuple[bool | None, str]
NOTHING = (None, "no search is done")


def _done(results: Results) -> list[Entry]:
    return [entry for entry in results.entries if entry.status == "done"]


def _recorded(results: Results, field: str) -> set[str]:
    """The different values of a field over the processes; "" stands for one that lacks it."""
    return {str(process.get(field) or "") for process in results.environment}


def _code(results: Results) -> Finding:
    commits = _recorded(results, "commit")
    if not commits or "" in commits:
        versions = _list(_recorded(results, "archgrad") - {""})
        return (
            None,
            f"archgrad {versions or 'of unknown version'}, no commit recorded for all of it",
        )
    if len(commits) > 1:
        return False, f"{len(commits)} commits took part: {_list(commits)}"
    return True, f"archgrad at commit {_list(commits)}; release what you changed with it"


def _space(results: Results) -> Finding:
    found = {e.architecture.space for e in _done(results) if e.architecture is not None}
    if not found:
        return NOTHING
    asked = results.settings.space
    return found == {asked}, f"architectures of {_list(found)}, where {asked} was asked for"


def _same(results: Results, names: Sequence[str]) -> Finding:
    """Whether the fingerprints of these conditions are equal among the searches of a data set."""
    done = _done(results)
    if not done:
        return NOTHING
    if "full" in names and results.settings.table is not None:
        return True, f"all looked up in {results.settings.table}"
    for name in names:
        for data in results.settings.data:
            found = {entry.conditions.get(name) for entry in done if entry.data == data}
            if None in found:
                return None, f"{name} on {data} is not recorded for all searches"
            if len(found) > 1:
                return False, f"{name} on {data} differs: {len(found)} fingerprints"
    return True, f"equal fingerprints of {' and '.join(names)} over {len(done)} searches"


def _selection(results: Results) -> Finding:
    apart = results.settings.validation_apart
    if apart is None:
        return None, "not recorded"
    return apart, "a part of its own selects" if apart else "searches saw the data that select"


def _test(results: Results) -> Finding:
    reads = {entry.test_reads for entry in _done(results)}
    early = [entry for entry in results.entries if entry.status == "failed" and entry.test_reads]
    if not reads:
        return NOTHING
    if None in reads:
        return None, "reads of the test data are not recorded for all searches"
    if reads != {1} or early:
        most = max(entry.test_reads or 0 for entry in results.entries)
        return False, f"read up to {most} times a search, and for {len(early)} failed ones"
    return True, "read once for each search that is done, and for no other"


def _budget(results: Results) -> Finding:
    budget = results.budget
    phases = [entry.costs.search for entry in _done(results)]
    if not phases:
        return NOTHING
    if budget.seconds is None:
        assert budget.amount is not None
        amount, most = budget.amount, budget.amount
        spent = [phase.spent for phase in phases]
    else:  # a search ends at the first step after its time
        amount, most = budget.seconds, (1 + SLACK) * budget.seconds
        spent = [phase.seconds for phase in phases]
    unit = budget.unit if budget.seconds is None else "seconds"
    equal = max(spent) <= most and min(spent) >= (1 - SLACK) * amount
    return equal, f"{min(spent):.4g} to {max(spent):.4g} of {amount:.4g} {unit} a search"


def _anytime(results: Results) -> Finding:
    done = _done(results)
    if not done:
        return NOTHING
    without = sum(len(entry.curve) < 2 for entry in done)
    return without == 0, f"{len(done) - without} of {len(done)} searches have a curve"


def _random(results: Results) -> Finding:
    if RANDOM not in results.settings.methods:
        return False, f"no method {RANDOM}"
    if _draws_one(results):
        return False, f"the searches of {RANDOM} saw one architecture each"
    done = sum(entry.method == RANDOM for entry in _done(results))
    return done > 0, f"{RANDOM}, {done} of {_planned(results)} searches done"


def _sampling(results: Results) -> Finding:
    if _draws_one(results):
        return True, f"the searches of {RANDOM} saw one architecture each"
    return False, "none that draws one architecture and keeps it: the space's mean is not known"


def _draws_one(results: Results) -> bool:
    """Whether the random search is random sampling: its curves have one point."""
    curves = [entry.curve for entry in _done(results) if entry.method == RANDOM]
    return bool(curves) and all(len(curve) == 1 for curve in curves)


def _searches(results: Results) -> Finding:
    fewest = min(
        len(results.of(m, d)) for m in results.settings.methods for d in results.settings.data
    )
    return (
        fewest >= FEWEST,
        f"{fewest} of {len(results.settings.seeds)} done where there are fewest",
    )


def _power(results: Results) -> Finding:
    others = [m for m in results.settings.methods if m != RANDOM]
    if RANDOM not in results.settings.methods or not others:
        return False, "nothing to test against random"
    fewest = min(
        len({e.seed for e in results.of(m, d)} & {e.seed for e in results.of(RANDOM, d)})
        for m in others
        for d in results.settings.data
    )
    return fewest >= pairs_needed(), f"{fewest} pairs with random where there are fewest"


def _lost(results: Results) -> Finding:
    failed, missing = len(results.entries) - len(_done(results)), len(results.missing)
    return not failed and not missing, f"{failed} failed, {missing} not run"


def _table(results: Results) -> Finding:
    table = results.settings.table
    return table is not None, f"{table}" if table else "networks were trained"


def _setup(results: Results) -> Finding:
    if not results.environment:
        return None, "not recorded"
    found = {field: _recorded(results, field) for field in SETUP}
    if lacking := [field for field, values in found.items() if "" in values]:
        return None, f"{lacking[0]} is not recorded for all processes"
    if several := [field for field, values in found.items() if len(values) > 1]:
        return False, f"{several[0]} differs: {_list(found[several[0]])}"
    return True, ", ".join(f"{field} {_list(values)}" for field, values in found.items())


def _repeatable(results: Results) -> Finding:
    if results.budget.seconds is not None:
        return False, "the budget is in seconds: what fits into it changes from run to run"
    seeds = ", ".join(map(str, results.settings.seeds[:10]))
    more = ", ..." if len(results.settings.seeds) > 10 else ""
    return True, f"the budget is counted in {results.budget.unit}; seeds {seeds}{more}"


def _guard(results: Results) -> Finding:
    return results.settings.guard != "off", f"guard {results.settings.guard}"


def _tuning(results: Results) -> Finding:
    tuning = results.settings.tuning
    return (True, tuning) if tuning else (None, "not known: yours to say")


def _costs(results: Results) -> Finding:
    done = _done(results)
    if not done:
        return NOTHING
    needed = ("search",) if results.settings.table is not None else ("search", "short", "full")
    lacking = [p for p in needed if any(getattr(e.costs, p).seconds == 0 for e in done)]
    if lacking:
        return False, f"no time recorded for {' and '.join(lacking)}"
    return True, f"{results.budget.unit} and seconds of {', '.join(needed)}"


def _planned(results: Results) -> int:
    return len(results.settings.seeds) * len(results.settings.data)


def _list(values: set[str]) -> str:
    return ", ".join(sorted(values))
