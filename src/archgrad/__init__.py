"""Gradient-based neural architecture search for PyTorch: the DARTS family, tested and composable.

>>> import archgrad
>>> architecture = archgrad.published("DARTS_V2")
>>> architecture.cell("normal").nodes[0]
(('sep_conv_3x3', 0), ('sep_conv_3x3', 1))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archgrad import baselines, benchmarks, data, methods, spaces
    from archgrad.api import build, derive, export, plan, run, search, train
    from archgrad.architecture import Architecture, Cell, published
    from archgrad.callbacks import Beginning, Callback, EpochEnd
    from archgrad.choice import Choice, Group
    from archgrad.choices import InputChoice, Repeat, Width, insert_choices
    from archgrad.comparing.verb import compare
    from archgrad.conversion import convert
    from archgrad.costs import CostTable, cost_table
    from archgrad.display import Display
    from archgrad.errors import ArchgradError, Diverged
    from archgrad.estimators import ArchgradClassifier, ArchgradRegressor
    from archgrad.latency import measure_latency
    from archgrad.methods import Method, method
    from archgrad.model_summary import summary
    from archgrad.operations import Zero
    from archgrad.planning import Plan
    from archgrad.reporting.page import report
    from archgrad.result import SearchResult
    from archgrad.spaces import space
    from archgrad.supernet import Supernet
    from archgrad.sweeping.engine import sweep
    from archgrad.tensorboard import TensorBoard
    from archgrad.trained import TrainResult

__version__ = "0.1.0"

# Public name -> module, imported on first use: `archgrad --help` must not wait for torch.
_HOMES = {
    "ArchgradClassifier": "archgrad.estimators",
    "ArchgradError": "archgrad.errors",
    "ArchgradRegressor": "archgrad.estimators",
    "Architecture": "archgrad.architecture",
    "Beginning": "archgrad.callbacks",
    "Callback": "archgrad.callbacks",
    "Cell": "archgrad.architecture",
    "Choice": "archgrad.choice",
    "CostTable": "archgrad.costs",
    "Display": "archgrad.display",
    "Diverged": "archgrad.errors",
    "EpochEnd": "archgrad.callbacks",
    "Group": "archgrad.choice",
    "InputChoice": "archgrad.choices",
    "Method": "archgrad.methods",
    "Plan": "archgrad.planning",
    "Repeat": "archgrad.choices",
    "SearchResult": "archgrad.result",
    "Supernet": "archgrad.supernet",
    "TensorBoard": "archgrad.tensorboard",
    "TrainResult": "archgrad.trained",
    "Width": "archgrad.choices",
    "Zero": "archgrad.operations",
    "build": "archgrad.api",
    "compare": "archgrad.comparing.verb",
    "convert": "archgrad.conversion",
    "cost_table": "archgrad.costs",
    "derive": "archgrad.api",
    "export": "archgrad.api",
    "insert_choices": "archgrad.choices",
    "measure_latency": "archgrad.latency",
    "method": "archgrad.methods",
    "plan": "archgrad.api",
    "published": "archgrad.architecture",
    "report": "archgrad.reporting.page",
    "run": "archgrad.api",
    "search": "archgrad.api",
    "space": "archgrad.spaces",
    "summary": "archgrad.model_summary",
    "sweep": "archgrad.sweeping.engine",
    "train": "archgrad.api",
}

__all__ = [
    "ArchgradClassifier",
    "ArchgradError",
    "ArchgradRegressor",
    "Architecture",
    "Beginning",
    "Callback",
    "Cell",
    "Choice",
    "CostTable",
    "Display",
    "Diverged",
    "EpochEnd",
    "Group",
    "InputChoice",
    "Method",
    "Plan",
    "Repeat",
    "SearchResult",
    "Supernet",
    "TensorBoard",
    "TrainResult",
    "Width",
    "Zero",
    "baselines",
    "benchmarks",
    "build",
    "compare",
    "convert",
    "cost_table",
    "data",
    "derive",
    "export",
    "insert_choices",
    "measure_latency",
    "method",
    "methods",
    "plan",
    "published",
    "report",
    "run",
    "search",
    "space",
    "spaces",
    "summary",
    "sweep",
    "train",
]


_PACKAGES = ("baselines", "benchmarks", "data", "methods", "spaces")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"archgrad.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'archgrad' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
