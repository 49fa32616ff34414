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
    from archgrad.architecture import Architecture, Cell, published
    from archgrad.conversion import convert
    from archgrad.costing.costs import CostTable, cost_table
    from archgrad.costing.latency import measure_latency
    from archgrad.errors import ArchgradError, Diverged
    from archgrad.estimators import ArchgradClassifier, ArchgradRegressor
    from archgrad.exporting.trained import TrainResult
    from archgrad.methods import Method, method
    from archgrad.networks.choice import Choice, Group
    from archgrad.networks.choices import InputChoice, Repeat, Width, insert_choices
    from archgrad.networks.operations import Zero
    from archgrad.networks.supernet import Supernet
    from archgrad.progress.display import Display
    from archgrad.progress.tensorboard import TensorBoard
    from archgrad.reporting.page import report
    from archgrad.resources.planning import Plan
    from archgrad.searching.callbacks import Beginning, Callback, EpochEnd
    from archgrad.searching.result import SearchResult
    from archgrad.spaces import space
    from archgrad.sweeping.engine import sweep
    from archgrad.verbs.compare import compare
    from archgrad.verbs.derive import build, derive
    from archgrad.verbs.export import export
    from archgrad.verbs.model_summary import summary
    from archgrad.verbs.run import run
    from archgrad.verbs.search import plan, search
    from archgrad.verbs.train import train

__version__ = "0.1.0"

# Public name -> module, imported on first use: `archgrad --help` must not wait for torch.
_HOMES = {
    "ArchgradClassifier": "archgrad.estimators",
    "ArchgradError": "archgrad.errors",
    "ArchgradRegressor": "archgrad.estimators",
    "Architecture": "archgrad.architecture",
    "Beginning": "archgrad.searching.callbacks",
    "Callback": "archgrad.searching.callbacks",
    "Cell": "archgrad.architecture",
    "Choice": "archgrad.networks.choice",
    "CostTable": "archgrad.costing.costs",
    "Display": "archgrad.progress.display",
    "Diverged": "archgrad.errors",
    "EpochEnd": "archgrad.searching.callbacks",
    "Group": "archgrad.networks.choice",
    "InputChoice": "archgrad.networks.choices",
    "Method": "archgrad.methods",
    "Plan": "archgrad.resources.planning",
    "Repeat": "archgrad.networks.choices",
    "SearchResult": "archgrad.searching.result",
    "Supernet": "archgrad.networks.supernet",
    "TensorBoard": "archgrad.progress.tensorboard",
    "TrainResult": "archgrad.exporting.trained",
    "Width": "archgrad.networks.choices",
    "Zero": "archgrad.networks.operations",
    "build": "archgrad.verbs.derive",
    "compare": "archgrad.verbs.compare",
    "convert": "archgrad.conversion",
    "cost_table": "archgrad.costing.costs",
    "derive": "archgrad.verbs.derive",
    "export": "archgrad.verbs.export",
    "insert_choices": "archgrad.networks.choices",
    "measure_latency": "archgrad.costing.latency",
    "method": "archgrad.methods",
    "plan": "archgrad.verbs.search",
    "published": "archgrad.architecture",
    "report": "archgrad.reporting.page",
    "run": "archgrad.verbs.run",
    "search": "archgrad.verbs.search",
    "space": "archgrad.spaces",
    "summary": "archgrad.verbs.model_summary",
    "sweep": "archgrad.sweeping.engine",
    "train": "archgrad.verbs.train",
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
