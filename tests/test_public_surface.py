"""What is public: every name is exported, documented, and shown in an example that runs."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import archgrad
from archgrad import parts

PACKAGES = [
    "archgrad",
    "archgrad.baselines",
    "archgrad.benchmarks",
    "archgrad.conversion",
    "archgrad.data",
    "archgrad.methods",
    "archgrad.spaces",
    *(f"archgrad.parts.{name}" for name in parts.__all__),
]

# What verbs return, and what parts of a method return or are made of.
BESIDE = [
    "archgrad.networks.choice.Edge",
    "archgrad.findings.results.Results",
    "archgrad.verbs.experiment.Report",
    "archgrad.exporting.formats.Exported",
    "archgrad.networks.mixing.Mixing",
    "archgrad.verbs.model_summary.Summary",
    "archgrad.resources.planning.Option",
    "archgrad.networks.supernet.Normal",
    "archgrad.sweeping.table.Swept",
]

# Without an example of their own, with the reason.
SHOWN_ELSEWHERE = {
    "archgrad.Beginning": "archgrad.Callback",
    "archgrad.CostTable": "archgrad.cost_table",
    "archgrad.EpochEnd": "archgrad.Callback",
    "archgrad.Plan": "archgrad.plan",
    "archgrad.SearchResult": "archgrad.search",
    "archgrad.TrainResult": "archgrad.train",
    "archgrad.baselines.Scored": "archgrad.baselines.best",
    "archgrad.benchmarks.Conversion": "archgrad.benchmarks.convert",
    "archgrad.benchmarks.Row": "archgrad.benchmarks.nas_bench_201",
    "archgrad.benchmarks.Table": "archgrad.benchmarks.nas_bench_201",
    "archgrad.networks.choice.Edge": "archgrad.parts.edge.Plain",
    "archgrad.conversion.Conversion": "archgrad.convert",
    "archgrad.conversion.Found": "archgrad.convert",
    "archgrad.data.Source": "archgrad.data.Batches",
    "archgrad.exporting.formats.Exported": "archgrad.export",
    "archgrad.verbs.model_summary.Summary": "archgrad.summary",
    "archgrad.parts.cost.CostRatio": "archgrad.parts.cost.CostPenalty",
    "archgrad.parts.discretization.ByGroup": "archgrad.parts.discretization.StrongestEdges",
    "archgrad.parts.hypergradient.Estimate": "archgrad.parts.paths.keep_other_probabilities",
    "archgrad.parts.relaxation.Relaxation": "archgrad.parts.relaxation.Softmax",
    "archgrad.parts.selection.Effort": "archgrad.parts.selection.RandomSearch",
    "archgrad.parts.state.Problem": "archgrad.parts.hypergradient.Exact",
    "archgrad.parts.stopping.Verdict": "archgrad.parts.stopping.EigenvalueStop",
    "archgrad.resources.planning.Option": "archgrad.plan",
    "archgrad.spaces.SearchSpace": "archgrad.space",
    "archgrad.sweeping.table.Swept": "archgrad.sweep",
}
NOT_RUN = {
    "archgrad.Diverged": "nobody makes it: a search raises it where a loss is not finite",
    "archgrad.TensorBoard": "it needs an extra package",
    "archgrad.compare": "its retrainings are processes of their own: seconds",
    "archgrad.findings.results.Results": "archgrad.compare returns it",
    "archgrad.verbs.experiment.Report": "archgrad.run returns it",
    "archgrad.run": "its retrainings are processes of their own: seconds",
    "archgrad.data.StreamSource": "it reads image files, which an example would have to make",
    "archgrad.parts.hypergradient.at_rest": "it does nothing",
    "archgrad.parts.hypergradient.first_order": "it is what every method begins with",
    "archgrad.parts.hypergradient.first_order_and_weights": "FreezeOverfitted shows it",
    "archgrad.parts.selection.Trained": "the search makes it, with its trained supernet",
}
# Names for values and types that Python gives no docstring.
VALUES = set("BASELINES Batch DATASETS FORMS RECIPES SPACES Search Strategy WRITTEN".split())

VERBS = [
    "build",
    "compare",
    "convert",
    "cost_table",
    "derive",
    "export",
    "insert_choices",
    "measure_latency",
    "method",
    "plan",
    "published",
    "report",
    "run",
    "search",
    "space",
    "summary",
    "sweep",
    "train",
]


def listed() -> dict[str, Any]:
    """Every public name with what it is; what several packages export counts where it is first."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            known = name not in VALUES and any(value is other for other in found.values())
            if not isinstance(value, ModuleType) and not known:
                found[f"{package}.{name}"] = value
    for name in BESIDE:
        module, _, last = name.rpartition(".")
        found[name] = getattr(importlib.import_module(module), last)
    return found


PUBLIC = listed()
DOCUMENTED = {name: v for name, v in PUBLIC.items() if name.split(".")[-1] not in VALUES}


def members(value: Any) -> Iterator[tuple[str, FunctionType]]:
    """The public methods and properties that a class of the library has itself."""
    for name, member in vars(value).items() if isinstance(value, type) else ():
        member = getattr(member, "fget", None) or getattr(member, "func", member)
        member = getattr(member, "__func__", member)
        if not name.startswith("_") and isinstance(member, FunctionType):
            yield name, member


EVERYTHING = {
    **DOCUMENTED,
    **{f"{of}.{name}": m for of, v in DOCUMENTED.items() for name, m in members(v)},
    **{f"archgrad.method {name}": recipe for name, recipe in archgrad.methods.RECIPES.items()},
    **{f"baseline {name}": recipe for name, recipe in archgrad.baselines.BASELINES.items()},
}


def test_every_package_says_what_is_public() -> None:
    for package in PACKAGES:
        module = importlib.import_module(package)
        assert len(set(module.__all__)) == len(module.__all__), package
        assert all(hasattr(module, name) for name in module.__all__), package
    slots = {info.name for info in pkgutil.iter_modules(parts.__path__)}
    beside = {"architectures", "derivatives", "feasible", "front", "method"}
    assert slots - beside == set(parts.__all__), "is the new file one of a slot?"


def test_the_lists_name_what_there_is() -> None:
    assert {*SHOWN_ELSEWHERE, *SHOWN_ELSEWHERE.values(), *NOT_RUN} <= set(DOCUMENTED)
    verbs = [n for n in archgrad.__all__ if inspect.isfunction(getattr(archgrad, n))]
    assert verbs == VERBS
    assert {name.split(".")[-1] for name in PUBLIC} >= VALUES


def text_of(name: str) -> str:
    """Its docstring; a method without one has that of the method it replaces."""
    owner, _, method = name.rpartition(".")
    own = inspect.cleandoc(EVERYTHING[name].__doc__ or "")
    held = getattr(DOCUMENTED.get(owner), method, None)
    return own or (inspect.getdoc(held) or "" if held is not None else "")


def examples(name: str) -> list[doctest.Example]:
    """Those of a name, and of a class those of its methods."""
    value = DOCUMENTED[name]
    texts = [text_of(name), *(text_of(f"{name}.{method}") for method, _ in members(value))]
    return [e for text in texts for e in doctest.DocTestParser().get_examples(text)]


def test_the_first_line_is_a_sentence() -> None:
    wrong = {}
    for name in EVERYTHING:
        first, _, rest = text_of(name).partition("\n")
        if not re.fullmatch(r"([A-Z\"(`0-9]|iDARTS|beta-DARTS).*[.:]", first) or (
            rest and not rest.startswith("\n")
        ):
            wrong[name] = first
    assert not wrong


def test_an_example_shows_it() -> None:
    for name in DOCUMENTED:
        found = examples(name)
        assert bool(found) != (name in SHOWN_ELSEWHERE or name in NOT_RUN), name
        if name in SHOWN_ELSEWHERE:
            assert examples(SHOWN_ELSEWHERE[name]), name
        if found:
            used = " ".join(example.source for example in found).lower()
            assert name.split(".")[-1].lower() in used, f"the example of {name} does not use it"


def test_an_example_can_be_pasted() -> None:
    """All names that it uses are Python's, or made in it."""
    for name in EVERYTHING:
        found = doctest.DocTestParser().get_examples(text_of(name))
        nodes = list(ast.walk(ast.parse("".join(example.source for example in found))))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        made = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
        for node in nodes:
            if isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
                made.add(node.name or "")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                made |= {(one.asname or one.name).split(".")[0] for one in node.names}
        assert {node.id for node in names} - made <= set(dir(builtins)), name


def raises(value: Any) -> bool:
    """Whether its own lines raise an `ArchgradError`; of a class those of making and calling it."""
    made = [vars(value).get(n) for n in ("__init__", "__post_init__", "__call__", "__getitem__")]
    functions = made if isinstance(value, type) else [value]
    for function in functions:
        if not isinstance(function, FunctionType) or function.__code__.co_filename == "<string>":
            continue  # there is none, or it was made by dataclass
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            raised = ast.unparse(node.exc) if isinstance(node, ast.Raise) and node.exc else ""
            if raised.startswith(("ArchgradError(", "unknown(")):
                return True
    return False


def test_its_errors_are_told() -> None:
    raising = [name for name in EVERYTHING if raises(EVERYTHING[name])]
    assert len(raising) > 60, "the search for them works"
    assert not [name for name in raising if "ArchgradError" not in text_of(name)]


def test_every_argument_of_a_verb_is_described() -> None:
    for verb in VERBS:
        text = text_of(f"archgrad.{verb}")
        refers = "Arguments and errors as for `search`" in text
        text += text_of("archgrad.search") if refers else ""
        assert "ArchgradError" in text, verb
        for argument in inspect.signature(getattr(archgrad, verb)).parameters:
            assert re.search(rf"`{argument}\b", text), f"{argument} of {verb}"


def test_every_option_of_a_method_is_described() -> None:
    """But for those whose name says it all."""
    plain = ("alpha_learning_rate", "alpha_weight_decay", "learning_rate")
    for name, recipe in archgrad.methods.RECIPES.items():
        for option in inspect.signature(recipe).parameters:
            assert option in plain or f"`{option}`" in (recipe.__doc__ or ""), f"{option} of {name}"


def files() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the library, without importing it."""
    folder = Path(archgrad.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(folder)), ast.parse(path.read_text(encoding="utf-8"))


def test_every_file_says_what_it_is_for() -> None:
    first = {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in files()}
    assert not {name: line for name, line in first.items() if not re.fullmatch(r".{20,}\.", line)}


def test_code_stands_in_single_backticks() -> None:
    for name, tree in files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                assert "``" not in (ast.get_docstring(node) or ""), name


def test_values_and_types_have_a_text_below_them() -> None:
    """It is no docstring to Python; the reference shows it."""
    described = set()
    for _, tree in files():
        for node, below in pairwise(tree.body):
            target = node.target if isinstance(node, ast.AnnAssign) else None
            target = node.targets[0] if isinstance(node, ast.Assign) else target
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(target, ast.Name) and isinstance(text, ast.Constant):
                described.add(target.id)
    assert described >= VALUES
