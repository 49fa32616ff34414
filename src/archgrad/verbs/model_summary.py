"""What a model with choices offers: the candidates of each, their sizes, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, prod

from torch import nn

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.searching.result import SearchResult
from archgrad.spaces.own import OwnModel
from archgrad.tensors.trees import describe


@dataclass(frozen=True)
class Decision:
    """Choices of one name, which are decided together.

    `places`: where they stand in the model; `kind`: their class; `picks`: how many candidates
    are kept; `parameters`: of each candidate once chosen, at all places together and without the
    choices inside it; `chosen`: the candidates that were kept, if this is known.
    """

    name: str
    kind: str
    places: tuple[str, ...]
    candidates: tuple[str, ...]
    parameters: tuple[int, ...]
    picks: int = 1
    chosen: tuple[str, ...] | None = None

    @property
    def offered(self) -> str:
        """The candidates with their parameters, in words."""
        pairs = zip(self.candidates, self.parameters, strict=True)
        return ", ".join(f"{name} ({size:,})" for name, size in pairs)


@dataclass(frozen=True)
class Summary:
    """All choices of a model: text in a terminal, a table in a notebook.

    `architectures`: how many there are, the product over the choices, those inside a candidate
    that is not chosen counted too; `fixed`: parameters outside all choices.
    """

    model: str
    decisions: tuple[Decision, ...]
    fixed: int

    @property
    def architectures(self) -> int:
        """How many architectures the model holds."""
        return prod(comb(len(d.candidates), d.picks) for d in self.decisions)

    @property
    def title(self) -> str:
        """How much there is to choose."""
        count = len(self.decisions)
        return (
            f"{self.model}: {count} choice{'s' if count > 1 else ''}, {self.architectures:,} "
            f"architectures, {self.fixed:,} parameters outside the choices"
        )

    @property
    def rows(self) -> list[list[str]]:
        """The table, header first."""
        known = any(d.chosen is not None for d in self.decisions)
        table = [["choice", "kind", "stands at", "keeps", "candidates (parameters)"]]
        table[0] += ["chosen"] if known else []
        for d in self.decisions:
            row = [d.name, d.kind, ", ".join(d.places), str(d.picks), d.offered]
            table.append([*row, ", ".join(d.chosen or ())] if known else row)
        return table

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.rows
        )
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import frame, table

        header, *body = self.rows
        return frame(self.title, table(header, body))


def summary(what: nn.Module | SearchResult, architecture: Architecture | None = None) -> Summary:
    """What a model with choices offers, or what a search of it chose.

    `what`: a model with `archgrad.Choice` modules, or the result of searching one;
    `architecture`: what was chosen for a model, as in `result.architecture`. Raises
    `ArchgradError` where there are no choices, or the architecture is of another model.

    >>> import archgrad
    >>> from torch import nn
    >>> block = {"linear": nn.Linear(4, 4), "skip": nn.Identity()}
    >>> print(archgrad.summary(nn.Sequential(archgrad.Choice(block, "block"))))
    Sequential: 1 choice, 2 architectures, 0 parameters outside the choices
    choice  kind    stands at  keeps  candidates (parameters)
    block   Choice  0          1      linear (20), skip (0)
    """
    if isinstance(what, SearchResult):
        if not isinstance(what.space, OwnModel):
            raise ArchgradError(
                f"this search is of space {what.space.name}, whose cells the result itself shows; "
                "expected the result of an own model, or a model with choices"
            )
        space, architecture = what.space, what.architecture
    elif isinstance(what, nn.Module):
        space = OwnModel(what)
    else:
        raise ArchgradError(
            f"summary: found {describe(what)}; expected a model with archgrad.Choice modules, or "
            "the result of searching one"
        )
    if architecture is not None:
        space.validate(architecture)
    return _summary(space, architecture)


def _summary(space: OwnModel, architecture: Architecture | None) -> Summary:
    chosen = {c.name: c.operations for c in architecture.cells} if architecture else {}
    places: dict[str, dict[str, Choice]] = {group.name: {} for group in space.groups}
    for place, module in space.model.named_modules():
        if isinstance(module, Choice):
            places[module.group][place or "the model"] = module
    decisions = []
    for group in space.groups:
        choices = list(places[group.name].values())
        sizes = (sum(_size(choice, name) for choice in choices) for name in group.candidates[0])
        decisions.append(
            Decision(
                name=group.name,
                kind=type(choices[0]).__name__,
                places=tuple(places[group.name]),
                candidates=group.candidates[0],
                parameters=tuple(sizes),
                picks=group.picks,
                chosen=chosen.get(group.name),
            )
        )
    return Summary(type(space.model).__name__, tuple(decisions), parameters(space.model))


def _size(choice: Choice, name: str) -> int:
    """Of a candidate alone: an input choice sums any of its inputs, a width cuts its layers."""
    return parameters(choice.chosen([name]))


def parameters(module: nn.Module) -> int:
    """All parameters that are in no choice inside the module."""
    inside = (m for m in module.modules() if isinstance(m, Choice))
    left_out = {id(p) for choice in inside for p in choice.parameters()}
    return sum(p.numel() for p in module.parameters() if id(p) not in left_out)
