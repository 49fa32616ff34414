"""A function of tensors whose GPU kernels are recorded once and then launched together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Result = TypeVar("Result")
WARM_UP = 3  # calls as they are before one is recorded, as PyTorch's documentation has it


class Recorder(Protocol):
    """Records what a function of no arguments does on the device."""

    def aside(self, run: Callable[[], Result]) -> Result:
        """Run it as it is, in the place where it will be recorded."""

    def record(self, run: Callable[[], Result]) -> Callable[[], Result]:
        """Record it without running it; what is returned runs what was recorded."""


class CudaGraphs:
    """PyTorch's CUDA graphs, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def aside(self, run: Callable[[], Result]) -> Result:
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            result = run()
        outside.wait_stream(self.stream)
        return result

    def record(self, run: Callable[[], Result]) -> Callable[[], Result]:
        graph = torch.cuda.CUDAGraph()
        # The outer context brings back the stream, which a capture that fails does not.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
            result = run()

        def replay() -> Result:
            graph.replay()
            return result

        return replay


def recorder(device: torch.device) -> Recorder | None:
    """What records on this device, if anything does."""
    return CudaGraphs(device) if device.type == "cuda" else None


class Graphed(Generic[Result]):
    """A function of tensors by name, run as it is a few times, then recorded and replayed.

    `trial` computes the same and says in addition what stands against recording it, if anything
    does; it makes the first calls, which count like all others: every call computes once, so the
    function may change tensors in place. Whatever else the function reads must stay where it is,
    and change in place alone; `key` of a call says the rest that it depends on. Calls with
    another key or other shapes are made by `trial`; after `WARM_UP` of them in a row the function
    is recorded anew. What a call returns is overwritten by the next one.

    `note`: why it is not recorded, where it is not; all calls are then made by `trial`.
    """

    def __init__(
        self,
        what: str,
        function: Callable[[Tensors], Result],
        trial: Callable[[Tensors], tuple[Result, str | None]],
        recorder: Recorder,
    ) -> None:
        self.what, self.function, self.trial, self.recorder = what, function, trial, recorder
        self.note: str | None = None
        self.forget()

    def forget(self) -> None:
        """Record anew, since something that the function reads is elsewhere now."""
        self.replay: Callable[[], Result] | None = None
        self.inputs: Tensors = {}
        self.recorded: Any = None
        self.latest: Any = None
        self.calls = 0  # in a row with the latest key, which is not the recorded one

    def __call__(self, inputs: Tensors, key: object = None) -> Result:
        if self.note is not None:
            return self.trial(inputs)[0]
        key = (key, [(n, v.shape, v.stride(), v.dtype) for n, v in inputs.items()])
        if self.replay is not None and key == self.recorded:
            self.calls = 0
            for name, value in inputs.items():
                self.inputs[name].copy_(value)
            return self.replay()
        self.calls = self.calls + 1 if key == self.latest else 1
        self.latest = key
        if self.calls > WARM_UP:
            return self._record(inputs, key)
        result, obstacle = self.recorder.aside(lambda: self.trial(inputs))
        if obstacle is not None:
            self.give_up(obstacle)
        return result

    def _record(self, inputs: Tensors, key: object) -> Result:
        self.forget()
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        try:
            replay = self.recorder.record(lambda: self.function(self.inputs))
        except Exception as error:  # whatever it is, the search goes on without
            self.give_up(_first_line(error))
            return self.trial(inputs)[0]
        self.replay, self.recorded = replay, key
        return replay()

    def give_up(self, reason: str) -> None:
        """Record nothing any more."""
        self.forget()
        self.note = f"{self.what} runs without CUDA graphs: {reason}"


def _first_line(error: BaseException) -> str:
    """Of the message of what went wrong first: the end of a broken capture fails in turn."""
    while error.__context__ is not None:
        error = error.__context__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
