"""Tokens a second of a recurrent search step and of a retraining step, against the textbook forms.

All cases take turns in one process, with one thread and the same tokens; ratios are taken within a
turn. A search step is an alpha step and a weight step; a retraining step trains the derived cell
DARTS_RNN_V2. The forms are those of `textbook_rnn.py`; that they have the library's loss and
gradients is seen in float64 before anything is timed. `decoder`: the product with the embedding and
the cross-entropy over the vocabulary, forward and backward, by themselves.

    python benchmarks/recurrent.py --size small          hidden 64, batch 20
    python benchmarks/recurrent.py --size paper-search   hidden 300, batch 256, a search
    python benchmarks/recurrent.py --size paper-evaluation   hidden 850, batch 64, a retraining
    python benchmarks/recurrent.py --order second --device cuda --steps 10 --out FILE
    python benchmarks/recurrent.py --report              tables into docs/performance.md
    python benchmarks/recurrent.py --quick               a tiny size
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad import methods
from archgrad.architecture import published
from archgrad.data import text_data
from archgrad.kernels import native
from archgrad.language import LANGUAGE, Memory, Segment
from archgrad.networks.mixing import Mixing
from archgrad.networks.recurrent import Regularization
from archgrad.networks.supernet import Supernet
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.storage.folder import environment
from archgrad.system.allocation import keep_freed_memory
from bench_cases import now
from bench_report import markdown
from page import fill, keep, load, made
from steps import library
from textbook_rnn import Book, Derived, Language, losses

HERE = Path(__file__).parent
CELL = "DARTS_RNN_V2"
OURS, EDGES, STACKED = "library", "textbook, edge by edge", "the original's form"
BOOKS = {EDGES: "edges", STACKED: "stacked"}
SEARCH = {"learning_rate": 20.0, "weight_decay": 5e-7, "clip": 0.25}
RETRAIN = {"learning_rate": 20.0, "weight_decay": 8e-7, "clip": 0.25}


class Size(NamedTuple):
    """``parts``: what is measured at it."""

    hidden: int
    batch: int
    parts: tuple[str, ...]
    vocabulary: int = 10_000
    bptt: int = 35
    nodes: int = 8


SIZES = {
    "small": Size(64, 20, ("search", "retraining")),
    "paper-search": Size(300, 256, ("search",)),
    "paper-evaluation": Size(850, 64, ("retraining",)),
    "quick": Size(4, 3, ("search", "retraining"), vocabulary=11, bptt=4),
}
SEEN = Size(16, 4, (), vocabulary=50, bptt=5)  # where the forms are compared
# The decoder's gradients: in the first-order alpha step only what it decodes has one.
Step = Callable[[], Any]


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--order", choices=["first", "second"], default="first")
    parser.add_argument("--steps", type=int, default=3, help="of each case in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny size")
    parser.add_argument("--report", action="store_true", help="the tables of what was measured")
    parser.add_argument("--out", type=Path, help="the JSON file of results")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="of --report")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(size="quick", steps=1, turns=2)
    return parser.parse_args(arguments)


def space(size: Size, rates: Regularization = Regularization()) -> DartsRNN:  # noqa: B008
    return DartsRNN(size.hidden, size.nodes, size.vocabulary, regularization=rates)


def segments(size: Size, device: torch.device, dtype: torch.dtype) -> tuple[Segment, Segment]:
    """Random ones for the weights and for alpha, in the middle of a text."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, size.bptt + 1, size.batch)
    words = torch.randint(size.vocabulary, shape, generator=generator).to(device)
    state = 0.1 * torch.randn(size.batch, size.hidden, generator=generator)
    state = state.to(device, dtype)
    one, two = (Segment(text[:-1], text[1:], state, Memory()) for text in words)
    return one, two


# --- the forms are the same -----------------------------------------------------------------------


def gap(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def search_gap(form: str, size: Size = SEEN, rates: Regularization = Regularization()) -> float:  # noqa: B008
    """Of the trained loss, and of its gradients by alpha and by every weight, in float64."""
    one, _ = segments(size, torch.device("cpu"), torch.float64)
    made = space(size, rates)
    net = Supernet(made.supernet().double(), made.groups, task=LANGUAGE)
    alpha = torch.randn(made.groups[0].shape, dtype=torch.float64).requires_grad_()
    book = Book(form, size.vocabulary, size.hidden, size.nodes, rates, **SEARCH)
    book.network.double().load_state_dict(net.model.state_dict())
    book.alpha = {"recurrent": alpha}
    torch.manual_seed(1)
    output, target = net.outputs(Mixing({"recurrent": alpha.softmax(-1)}), one)
    ours = LANGUAGE.trained(LANGUAGE.minimized(output, target), output)
    torch.manual_seed(1)
    return both(ours, book.trained(book.network, one), net.model, book.network, alpha)


def derived_gap(size: Size = SEEN, rates: Regularization = Regularization()) -> float:  # noqa: B008
    """Of the trained loss of the derived cell, and of its gradients, in float64."""
    one, _ = segments(size, torch.device("cpu"), torch.float64)
    ours, theirs = (model.double() for model in derived(size, rates))
    theirs.load_state_dict(ours.state_dict())
    found = []
    for model in (ours, theirs):
        torch.manual_seed(1)
        found.append(trained(model, one))
    return both(*found, ours, theirs)


def both(ours: Tensor, theirs: Tensor, model: nn.Module, other: nn.Module, *more: Tensor) -> float:
    weights = [list(m.parameters()) for m in (model, other)]
    slopes = [
        torch.autograd.grad(loss, [*given, *more])
        for loss, given in zip((ours, theirs), weights, strict=True)
    ]
    return gap([ours.detach(), *slopes[0]], [theirs.detach(), *slopes[1]])


def derived(size: Size, rates: Regularization) -> tuple[nn.Module, nn.Module]:
    """The retrained model of the library and that of the textbook."""
    cell = published(CELL)
    theirs = Language(size.vocabulary, size.hidden, Derived(size.hidden, cell), rates)
    return space(size, rates).derive(cell), theirs


def trained(model: nn.Module, segment: Segment) -> Tensor:
    """What a retraining minimizes."""
    if isinstance(model, Language):
        return sum(losses(model, segment))
    output, target = LANGUAGE.forward(model, segment)
    return LANGUAGE.trained(LANGUAGE.minimized(output, target), output)


# --- what is timed --------------------------------------------------------------------------------


def search_cases(options: argparse.Namespace, size: Size, device: torch.device) -> dict[str, Step]:
    """A whole search step of each form."""
    train, valid = segments(size, device, torch.float32)
    second = options.order == "second"
    kind = {"estimator": "finite_difference"} if second else {}
    method = methods.method("darts_2nd" if second else "darts", **kind)
    words = [str(i % 10) for i in range(60)]
    ours = library(
        space(size), method, device, data=text_data(words, words), momentum=0.0,
        second_order_clip=SEARCH["clip"], **SEARCH,
    )  # fmt: skip
    cases: dict[str, Step] = {OURS: lambda: ours.both(train, valid)}
    for name, form in BOOKS.items():
        rates = Regularization()
        book = Book(form, size.vocabulary, size.hidden, size.nodes, rates, **SEARCH)
        cases[name] = book_step(book.to(device), second, train, valid)
    return cases


def book_step(book: Any, second: bool, train: Segment, valid: Segment) -> Step:
    def step() -> None:
        (book.second_order if second else book.first_order)(train, valid)
        book.weight_step(train)

    return step


def retraining_cases(size: Size, device: torch.device) -> dict[str, Step]:
    """A retraining step of the library and of the textbook; a derived node has one edge."""
    train, _ = segments(size, device, torch.float32)
    models = derived(size, Regularization(words=0.1))
    pairs = zip((OURS, EDGES), models, strict=True)
    return {name: retraining_step(model.to(device).train(), train) for name, model in pairs}


def retraining_step(model: nn.Module, segment: Segment) -> Step:
    sgd = torch.optim.SGD(
        model.parameters(), RETRAIN["learning_rate"], weight_decay=RETRAIN["weight_decay"]
    )

    def step() -> None:
        sgd.zero_grad()
        trained(model, segment).backward()
        nn.utils.clip_grad_norm_(model.parameters(), RETRAIN["clip"])
        sgd.step()

    return step


def decoder(size: Size, device: torch.device, by_weights: Sequence[bool]) -> Step:
    """What the passes of a step decode, with the embedding's gradient in some of them."""
    decoded = torch.randn(size.bptt * size.batch, size.hidden, device=device).requires_grad_()
    embedding = torch.randn(size.vocabulary, size.hidden, device=device).mul_(0.04)
    bias = torch.zeros(size.vocabulary, device=device)
    target = torch.arange(len(decoded), device=device) % size.vocabulary

    def step() -> None:
        for wanted in by_weights:
            for weight in (embedding, bias):
                weight.requires_grad_(wanted)
            F.cross_entropy(F.linear(decoded, embedding, bias), target).backward()
            decoded.grad = embedding.grad = bias.grad = None

    return step


def cases(part: str, options: argparse.Namespace, size: Size) -> dict[str, Step]:
    device = torch.device(options.device)
    if part == "retraining":
        return {**retraining_cases(size, device), "decoder": decoder(size, device, [True])}
    # second order: two passes by the weights, two by alpha alone, and the weight step's
    passes = [True] * 3 + [False] * 2 if options.order == "second" else [False, True]
    return {
        **search_cases(options, size, device),
        "decoder": decoder(size, device, passes),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every step: part -> turn by turn, case -> seconds."""
    size, device = SIZES[options.size], torch.device(options.device)
    gaps = {name: search_gap(form) for name, form in BOOKS.items()} | {"derived": derived_gap()}
    for name, found in gaps.items():
        print(f"{name}: loss and gradients differ from the library's by at most {found:.1e}")
    content: dict[str, Any] = {
        "size": {"name": options.size, **size._asdict()},
        "settings": {name: getattr(options, name) for name in ("order", "steps", "turns")},
        "environment": {**environment(options.device), "load": os.getloadavg()[0]},
        "kernels": native.note(device),
        "gaps": gaps,
        "parts": {},
    }
    for part in size.parts:
        found = content["parts"][part] = []
        steps = cases(part, options, size)
        for step in steps.values():
            step()
        for _ in range(options.turns):
            found.append({name: timed(step, options.steps, device) for name, step in steps.items()})
            if options.out is not None:
                keep(options.out, content)
        del steps
    return content


def timed(step: Step, number: int, device: torch.device) -> list[float]:
    found = []
    for _ in range(number):
        started = now(device)
        step()
        found.append(now(device) - started)
    return found


# --- what is said ---------------------------------------------------------------------------------


def ratios(turns: Sequence[Mapping[str, Sequence[float]]], of: str, by: str) -> list[float]:
    return [median(turn[of]) / median(turn[by]) for turn in turns]


def table(content: Mapping[str, Any]) -> str:
    """Tokens a second of each case, and how often the library's step fits into it."""
    size, env, settings = content["size"], content["environment"], content["settings"]
    tokens, rows = size["bptt"] * size["batch"], []
    for part, turns in content["parts"].items():
        passes = 2 if part == "search" else 1  # a search step reads a segment of either half
        for name in turns[0]:
            step = median(median(turn[name]) for turn in turns)
            times = ratios(turns, name, OURS)
            middle = f"{median(times):.2f}"
            rows.append(
                [
                    f"{part}, {settings['order']} order" if part == "search" else part,
                    name,
                    "-" if name == "decoder" else f"{passes * tokens / step:,.0f}",
                    f"{step:.3g} s",
                    middle if name == OURS else f"{middle} ({min(times):.2f} to {max(times):.2f})",
                ]
            )
    about = (
        f"{size['name']}: hidden {size['hidden']}, batch {size['batch']}, {size['bptt']} steps, "
        f"{size['vocabulary']:,} words, float32; turns: {settings['turns']}, steps in each: "
        f"{settings['steps']}; {env['device']}, one thread, {content['kernels']}, load "
        f"{env['load']:.1f} at the start; torch {env['torch']}, {made(env)}."
    )
    head = ["", "case", "tokens a second", "step", "step / library's"]
    return "\n".join([about, "", *markdown(head, rows)])


def report(options: argparse.Namespace) -> str:
    """The tables of all that was measured on this device, written into the page as well."""
    paths = sorted(options.results.glob(f"recurrent-*-{options.device}.json"))
    text = "\n\n".join(table(load(path)) for path in paths) or "Not measured."
    fill(options.page, f"benchmarks/recurrent.py --report, {options.device}", text)
    return text


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        print(report(options))
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    print(f"\n{table(measure(options))}")


if __name__ == "__main__":
    main(sys.argv[1:])
