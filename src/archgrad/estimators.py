"""scikit-learn's estimator interface: search, train what was found, predict."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from archgrad.data import Augmentation
from archgrad.data.own import OwnData
from archgrad.data.transform import Schedule, epoch_generator
from archgrad.default_models import KINDS, ModelFactory, kind_of
from archgrad.errors import ArchgradError, Diverged
from archgrad.parts.method import Method
from archgrad.preparing.prepared import checked
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.settings import config as configuration
from archgrad.settings.config import OWN, RunConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel
from archgrad.system.loops import cosine, placed, resolve_device, seeded
from archgrad.task import CLASSIFICATION, Task
from archgrad.tensors.trees import describe

Array: TypeAlias = "np.ndarray[Any, Any]"

LEAST = 4  # examples: a search halves them, and normalization needs two of each half
CHUNK = 256  # examples of a forward pass of a prediction


class Scale(NamedTuple):
    """Mean and standard deviation of each feature or channel, the second axis."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, x: Array) -> Scale:
        """Of these examples; what is constant has the deviation 1."""
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)
        deviation = x.std(axis=axes, keepdims=True, dtype=np.float64)
        rounding = 10 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(deviation > rounding, deviation, 1.0))

    def standardized(self, x: Array) -> Array:
        """With mean 0 and deviation 1, float64."""
        found: Array = (x - self.mean) / self.deviation
        return found

    def restored(self, x: Array) -> Array:
        """What `standardized` was given."""
        found: Array = x * self.deviation + self.mean
        return found


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the first output, (B, outputs) and (B,)."""
    return F.mse_loss(output[:, 0], target)


def train(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    task: Task,
    config: TrainConfig,
    own: bool = False,
) -> nn.Module:
    """Train with AdamW, the learning rate along a cosine to 0; in eval mode, on the CPU.

    Order of the examples by the seed of `config`; the network of the last epoch counts. `own`:
    a user's model, whose tensors keep their order in memory.
    """
    device = resolve_device(config.device)
    network = placed(network, device, own).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    schedule = Schedule(len(inputs), min(config.batch_size, len(inputs)), config.seed, shuffle=True)
    for epoch in range(config.epochs):
        rate = cosine(config.learning_rate, 0.0, epoch, config.epochs)
        optimizer.param_groups[0]["lr"] = rate
        for chosen in schedule.batches(epoch_generator(config.seed, epoch)):
            output = network(inputs[chosen].to(device))
            loss = task.minimized(output, targets[chosen].to(device))
            if not math.isfinite(loss.item()):
                raise Diverged(
                    f"the training loss became {loss.item()} in epoch {epoch + 1}; try a learning "
                    f"rate below {config.learning_rate}, or look for extreme values in X"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimizer.step()
    return network.eval().cpu()


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of numpy, such as a search over hyperparameters draws, become Python's."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}


REGRESSION = Task.of(squared_error, None, None)


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share; the arguments are kept as they are until `fit`."""

    def __init__(
        self,
        kind: Literal["auto", "tabular", "sequence", "image"] = "auto",
        *,
        model: ModelFactory | None = None,
        method: str | Method = "darts",
        method_options: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        train_epochs: int | None = None,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1.0,
        device: str = "auto",
        threads: int = 1,
        random_state: int | np.random.RandomState | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.kind = kind
        self.model = model
        self.method = method
        self.method_options = method_options
        self.epochs = epochs
        self.train_epochs = train_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.device = device
        self.threads = threads
        self.random_state = random_state
        self.callbacks = callbacks

    def _validated(self, X: Any, y: Any) -> tuple[Array, Array]:
        """X as (N, channels or features, ...), and y as (N,)."""
        X, y = validate_data(
            self,
            X,
            y,
            allow_nd=True,
            ensure_min_samples=LEAST,
            y_numeric=isinstance(self, RegressorMixin),
        )
        self.kind_ = kind_of(self.kind, X.ndim)
        X = self._arranged(X)
        self.input_shape_ = X.shape[1:]
        return X, y

    def _arranged(self, X: Array) -> Array:
        """With a channel axis, where sequences or images come without one."""
        X = X if X.ndim == KINDS[self.kind_].axes else X[:, None]
        if not X.size:
            raise ArchgradError(f"X has the shape {X.shape}; expected no axis of length 0")
        return X

    def _learn(self, X: Array, y: Array, task: Task, outputs: int) -> Self:
        """Search, then train the found network from scratch on all examples."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        config = self._configuration(len(X), seed)
        assert config.search is not None
        assert config.train is not None
        self.scale_ = Scale.of(X)
        inputs = torch.tensor(self.scale_.standardized(X), dtype=torch.get_default_dtype())
        targets = torch.tensor(y)
        if targets.is_floating_point():
            targets = targets.to(inputs.dtype)
        with seeded(seed, config.train.threads, resolve_device(config.train.device)):
            space = self._space(outputs)
            data = OwnData((inputs, targets), task=task)
            method = self.method if isinstance(self.method, Method) else None
            search = checked(config, data, Augmentation(), space, method)
            self.result_ = search.search(callback=Callbacks(self.callbacks))
            self.architecture_ = self.result_.architecture
            fresh = self._space(outputs)  # what a search starts from, not what it leaves
            network = fresh.derive(self.architecture_)
            own = isinstance(fresh, OwnModel)
            self.network_ = train(network, inputs, targets, task, config.train, own)
        return self

    def _configuration(self, examples: int, seed: int) -> RunConfig:
        """The options of search and training, checked."""
        kind = KINDS[self.kind_]
        common = {
            "batch_size": self.batch_size,
            "device": self.device,
            "threads": self.threads,
            "seed": seed,
        }
        search = {
            "space": OWN,
            "method": OWN if isinstance(self.method, Method) else self.method,
            "method_options": dict(self.method_options or {}),
            "epochs": kind.epochs if self.epochs is None else self.epochs,
            "guard": "off",
            **common,
        }
        train = {
            "epochs": kind.train_epochs if self.train_epochs is None else self.train_epochs,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            **common,
        }
        sections = {"data": {"data": OWN}, "search": _plain(search), "train": _plain(train)}
        config = configuration.build(sections)
        assert config.search is not None
        half = {"batch_size": min(config.search.batch_size, examples // 2)}
        return config.model_copy(update={"search": config.search.model_copy(update=half)})

    def _space(self, outputs: int) -> SearchSpace:
        factory = self.model or KINDS[self.kind_].model
        made: Any = None
        if callable(factory) and not isinstance(factory, nn.Module):
            made = factory(self.input_shape_, outputs)
        if isinstance(made, nn.Module):
            return OwnModel(made)
        if hasattr(made, "supernet"):
            return made  # type: ignore[no-any-return]
        found = describe(factory) if made is None else f"a function that returns {describe(made)}"
        raise ArchgradError(
            f"model is {found}; expected a function (shape of one example, number of outputs) that "
            "returns a module with choices or a search space"
        )

    def _outputs(self, X: Any) -> Array:
        """What the network returns for examples, (N, outputs).

        Computed in float64, so that an example's prediction does not depend on the others.
        """
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, allow_nd=True)
        kind_of(self.kind_, X.ndim)
        X = self._arranged(X)
        if X.shape[1:] != self.input_shape_:
            raise ArchgradError(
                f"X holds examples of shape {X.shape[1:]}; expected {self.input_shape_}, as in fit"
            )
        network = copy.deepcopy(self.network_).double()
        with torch.no_grad():
            parts = [
                network(torch.tensor(self.scale_.standardized(X[start : start + CHUNK])))
                for start in range(0, len(X), CHUNK)
            ]
        found: Array = torch.cat(parts).numpy()
        return found


class ArchgradClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier that first searches its network, then trains what was found from scratch.

    `kind`: of the arrays, "tabular" (N, features), "sequence" (N, channels, length) or "image" (N,
    channels, height, width); "auto" tells them by their axes, and where the kind is said, the
    channel axis may be missing. `model`: a function (shape of one example, number of outputs) -> a
    module with choices or a search space (None: that of the kind, `archgrad.default_models`);
    `method`, `method_options`: of the search, as for `archgrad.search`; `epochs`: of the search,
    `train_epochs`: of the training (None: by kind); `batch_size`: of both, in the search at most
    half the examples; `learning_rate`, `weight_decay`: of the training (AdamW, cosine to 0);
    `device`: cpu, cuda, cuda:N, or auto; `threads`: of torch while fitting; `random_state`: an int
    repeats a fit bit for bit; `callbacks`: hear of the search (docs/callbacks.md). The random state
    of torch stays as it is.

    >>> import archgrad
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = archgrad.ArchgradClassifier(epochs=1, train_epochs=5, random_state=0)
    >>> classifier.fit(X, y).predict_proba(X).shape
    (150, 3)
    >>> len(classifier.architecture_.cells) == len(classifier.result_.alpha)
    True

    Inputs are standardized by feature or channel. The search halves the examples, the training
    takes all of them and starts from what `model` makes when it is called again. Fitted:
    `classes_`, `network_` (a plain module for standardized inputs, on the CPU),
    `architecture_`, `result_` (an `archgrad.SearchResult`), `n_features_in_` (features or
    channels), `input_shape_`, `kind_`, `scale_`.

    Weights of examples are not supported. Raises ValueError for wrong input (`ArchgradError` is
    one): NaN, one class alone, fewer than four examples, in `predict` another shape than in `fit`;
    `archgrad.Diverged` where a loss is not finite; TypeError for sparse input.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search and train; X: one of the layouts above, y: (N,) labels of any type.

        Raises `ArchgradError` where `y` holds a single class; see the class for the rest.
        """
        X, y = self._validated(X, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ArchgradError(
                f"y holds 1 class, {self.classes_[0]!r}; expected at least two: give examples of "
                "another class"
            )
        return self._learn(X, labels, CLASSIFICATION, len(self.classes_))

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, classes), float64, in the order of `classes_`; X: as in `fit`."""
        logits = torch.from_numpy(self._outputs(X))
        found: Array = logits.softmax(dim=1).numpy()
        return found

    def predict(self, X: Any) -> Array:
        """The most probable labels, (N,), of the type of `classes_`; X: as in `fit`."""
        best = self.predict_proba(X).argmax(axis=1)
        found: Array = self.classes_[best]
        return found


class ArchgradRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regressor that first searches its network, then trains what was found from scratch.

    Arguments, attributes and errors as of `ArchgradClassifier`, for one number an example; targets
    are standardized for the squared error, `target_scale_`, and predictions restored.

    >>> import archgrad
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = archgrad.ArchgradRegressor(epochs=1, train_epochs=1, random_state=0)
    >>> regressor.fit(X[:100], y[:100]).predict(X[:2]).shape
    (2,)
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search and train; X: one of the layouts above, y: (N,) numbers."""
        X, y = self._validated(X, y)
        self.target_scale_ = Scale.of(y[:, None])
        targets = self.target_scale_.standardized(y[:, None])[:, 0]
        return self._learn(X, targets, REGRESSION, 1)

    def predict(self, X: Any) -> Array:
        """The predicted numbers, (N,), float64, in the unit of the targets; X: as in `fit`."""
        outputs = self._outputs(X)[:, :1]
        found: Array = self.target_scale_.restored(outputs)[:, 0]
        return found
