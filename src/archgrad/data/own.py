"""Data of any structure for an own model: arrays, a Dataset, or a loader, with what is learned."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from archgrad.data.base import Augmentation
from archgrad.data.fingerprint import some_rows
from archgrad.data.splits import shuffled
from archgrad.data.transform import Schedule, epoch_generator
from archgrad.data.workers import awaited
from archgrad.errors import ArchgradError
from archgrad.task import CLASSIFICATION, Task
from archgrad.tensors.trees import describe, moved

GENERATOR = "generator"  # its state, in a checkpoint


@dataclass(frozen=True)
class OwnData:
    """What trains the weights and what trains alpha, and the task.

    Each is a tuple of arrays of one length, a map-style Dataset, or an iterable with a length that
    yields batches, such as a DataLoader. Arrays and a Dataset are cut in two where `valid` is
    None, put together to batches of the search's size, and can be resumed bit by bit: a Dataset may
    draw from the global random numbers of torch, numpy and Python. Numbers in lists of one length
    are taken for arrays.
    """

    train: Any
    valid: Any = None
    task: Task = CLASSIFICATION
    augmentation: Augmentation = Augmentation()

    def halves(self, fraction: float) -> tuple[Any, Any]:
        """What trains the weights, and what trains alpha."""
        train = _as_set(self.train, "train")
        if self.valid is not None:
            return train, _as_set(self.valid, "valid")
        if not isinstance(train, Dataset):
            raise ArchgradError(
                "valid is None; a loader cannot be cut in two, so give a second one as valid=, or "
                "give its data set instead"
            )
        first, rest = shuffled(len(train), int(len(train) * fraction))  # type: ignore[arg-type]
        if not len(first) or not len(rest):
            raise ArchgradError(
                f"{len(first)} and {len(rest)} examples for weights and alpha; expected some for "
                "each: give more examples, or another train_fraction"
            )
        return Subset(train, first.tolist()), Subset(train, rest.tolist())

    def fingerprint(self) -> str:
        """16 hexadecimal digits, by some rows of arrays, and by type and length of other data."""
        found = hashlib.sha256()
        for part in (self.train, self.valid):
            found.update(f"{type(part).__name__} {_length(part)}".encode())
            for array in part if _arrays(part) else ():
                tensor = torch.as_tensor(array)
                found.update(f"{tuple(tensor.shape)}".encode() + some_rows(tensor))
        return found.hexdigest()[:16]


def batches(
    part: Any, batch_size: int, *, seed: int, shuffle: bool, device: torch.device
) -> SetBatches | LoaderBatches:
    """The batches of one half."""
    if isinstance(part, Dataset):
        if _length(part) < batch_size and shuffle:
            raise ArchgradError(
                f"found {_length(part)} examples in one half of the data, fewer than the batch "
                f"size {batch_size}; give a smaller batch_size, or more examples"
            )
        return SetBatches(part, Schedule(_length(part), batch_size, seed, shuffle), device)
    return LoaderBatches(part, device)


def examples(part: Any, batch_size: int) -> int:
    """How many one half holds; of a loader that does not tell the size of its batches: about."""
    if isinstance(part, Dataset):
        return _length(part)
    return _length(part) * (getattr(part, "batch_size", None) or batch_size)


@dataclass(frozen=True)
class SetBatches:
    """Batches of a Dataset; order, and what Python and numpy draw, follow from (seed, epoch)."""

    dataset: Dataset[Any]
    schedule: Schedule
    device: torch.device
    exact_resume: bool = True

    def __len__(self) -> int:
        return len(self.schedule)

    def epoch(self, index: int) -> Iterator[Any]:
        """The batches of epoch `index`."""
        generator = epoch_generator(self.schedule.seed, index)
        plan = [chosen.tolist() for chosen in self.schedule.batches(generator)]
        if _indexed(self.dataset):
            return (moved(self.dataset[chosen], self.device) for chosen in plan)
        seed = int(torch.randint(2**32, (), generator=generator))
        loader: DataLoader[Any] = DataLoader(self.dataset, batch_sampler=plan, generator=generator)
        return (moved(batch, self.device) for batch in _apart(loader, seed))


def _apart(loader: DataLoader[Any], seed: int) -> Iterator[Any]:
    """The batches, while Python and numpy draw from states of their own, not the global ones."""
    own = random.Random(seed).getstate(), np.random.RandomState(seed).get_state()
    batches = iter(loader)
    for _ in range(len(loader)):
        before = random.getstate(), np.random.get_state()
        _draw_from(*own)
        try:
            batch = next(batches)
            own = random.getstate(), np.random.get_state()
        finally:
            _draw_from(*before)
        yield batch


def _draw_from(python: Any, numpy: Any) -> None:
    random.setstate(python)
    np.random.set_state(numpy)


@dataclass(frozen=True)
class LoaderBatches:
    """The batches of a loader as they come.

    One that has `state_dict` and `load_state_dict`, or a DataLoader with a `generator`, is
    read to its end each time, so that it is between two epochs when its state is kept.
    """

    loader: Any
    device: torch.device

    def __len__(self) -> int:
        return _length(self.loader)

    @property
    def exact_resume(self) -> bool:
        return self._stateful or self._generator is not None

    @property
    def _stateful(self) -> bool:
        return hasattr(self.loader, "state_dict") and hasattr(self.loader, "load_state_dict")

    @property
    def _generator(self) -> torch.Generator | None:
        """What alone draws the order of a DataLoader, if it was given one."""
        if not isinstance(self.loader, DataLoader):
            return None
        found: torch.Generator | None = self.loader.generator
        return found if getattr(self.loader.sampler, "generator", found) is found else None

    def epoch(self, index: int) -> Iterator[Any]:
        """The batches of a pass."""
        iterator = awaited(self.loader, lambda number: f"batch {number + 1} of your loader")
        try:
            for batch in iterator:
                yield moved(batch, self.device)
        finally:
            if self.exact_resume:
                for _ in iterator:
                    pass

    def state_dict(self) -> dict[str, Any] | None:
        """The state of the loader, if it keeps one."""
        if self._stateful:
            found: dict[str, Any] = self.loader.state_dict()
            return found
        return None if self._generator is None else {GENERATOR: self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take up what `state_dict` returned, where the loader can."""
        if state is not None and self._stateful:
            self.loader.load_state_dict(state)
        elif state is not None and self._generator is not None:
            self._generator.set_state(state[GENERATOR].cpu())


class Arrays(Dataset[tuple[Tensor, ...]]):
    """Arrays of one length; floating-point ones become torch's default type.

    Indexed by one number or by a list of them. Integers behind the first array, the inputs, become
    int64, as losses expect of labels.
    """

    def __init__(self, arrays: Sequence[Any], name: str) -> None:
        self.tensors = tuple(_tensor(array, name) for array in arrays)
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ArchgradError(
                f"{name} holds arrays of the lengths {lengths}; expected one length, above 0"
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, ...]:
        first, *others = (tensor[index] for tensor in self.tensors)
        return first, *map(_widened, others)


def _indexed(part: Dataset[Any]) -> bool:
    """Whether a whole batch can be had by the list of its indices."""
    return isinstance(part.dataset if isinstance(part, Subset) else part, Arrays)


def _widened(tensor: Tensor) -> Tensor:
    integers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.long() if integers else tensor


def _tensor(array: Any, name: str) -> Tensor:
    found = array if isinstance(array, Tensor) else torch.from_numpy(np.asarray(array).copy())
    if not found.ndim:
        raise ArchgradError(f"{name} holds {describe(found)}; expected arrays with a first axis")
    if found.is_meta:
        raise ArchgradError(f"{name} holds {describe(found)} on the meta device, without values")
    if found.is_floating_point():
        if not bool(found.isfinite().all()):
            raise ArchgradError(f"{name} holds values that are not finite; remove or replace them")
        found = found.to(torch.get_default_dtype())
    return found


def _as_set(part: Any, name: str) -> Any:
    """A Dataset, or a loader with a length."""
    if isinstance(part, Dataset) and not isinstance(part, IterableDataset):
        if not _length(part):
            raise ArchgradError(f"{name} is empty; expected at least one example")
        return part
    if _arrays(part):
        return Arrays(part, name)
    if not hasattr(part, "__iter__") or isinstance(part, str | Tensor | np.ndarray | dict):
        raise ArchgradError(
            f"{name} is {describe(part)}; expected a tuple of arrays (x, y), a Dataset, or a "
            "loader that yields batches"
        )
    if not _length(part):
        raise ArchgradError(
            f"{name} is a {type(part).__name__} without a length, or empty; expected a loader with "
            "len(), the number of its batches"
        )
    if hasattr(part, "__next__"):
        raise ArchgradError(
            f"{name} is a {type(part).__name__}, which can be walked once; expected a loader that "
            "begins anew with each iter(), as every epoch does"
        )
    return part


def _arrays(part: Any) -> bool:
    """Whether it is arrays, or lists of numbers of one length, not a list of batches."""
    if not isinstance(part, tuple | list) or not part:
        return False
    if all(isinstance(one, Tensor | np.ndarray) for one in part):
        return True
    return all(map(_numbers, part)) and len(set(map(_length, part))) == 1


def _numbers(one: Any) -> bool:
    """Whether it is an array, or a list of numbers or of such lists of one length."""
    if isinstance(one, Tensor | np.ndarray):
        return True
    first = one
    while isinstance(first, tuple | list) and first:
        first = first[0]
    if first is one or not isinstance(first, int | float | np.number):
        return False
    try:
        return np.asarray(one).dtype.kind in "biuf"
    except (TypeError, ValueError):  # lists of several lengths
        return False


def _length(part: Any) -> int:
    try:
        return len(part)
    except TypeError:
        return 0
