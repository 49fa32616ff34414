"""A method that the library does not have: DARTS with a softmax that cools down in the search.

The mixing weights are softmax(alpha / T), T from ``start`` to ``end`` along a geometric line: at
the end hardly anything is cut off (annealing as in ASAP, arXiv:1904.04123). Takes ten seconds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

import archgrad
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha
from archgrad.parts.optimizer import Adam
from archgrad.parts.state import State


@dataclass(frozen=True)
class CoolingSoftmax:
    start: float = 1.0
    end: float = 0.01
    simplex: ClassVar[bool] = True  # the weights of an edge sum to one

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        return Mixing(self.strength(alpha, state))

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        temperature = self.start * (self.end / self.start) ** state.progress
        return {group: (logits / temperature).softmax(dim=-1) for group, logits in alpha.items()}


def cooling_darts(end: float = 0.01) -> archgrad.Method:
    return archgrad.Method(relaxation=CoolingSoftmax(end=end), arch_optimizer=Adam(3e-3))


if __name__ == "__main__":
    sizes = dict[str, Any](channels=4, cells=3, nodes=2, epochs=3, subset=160, batch_size=20)
    print(archgrad.search(data="digits", method=cooling_darts(), **sizes, guard="off").architecture)
