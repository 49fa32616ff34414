"""The parts a method is made of, one file a slot, each called as `part(alpha, state)`.

`archgrad.Method` says which slots there are, and docs/architecture.md how a step goes through them.

>>> import archgrad
>>> from archgrad.parts.relaxation import Sigmoid
>>> archgrad.Method(relaxation=Sigmoid()).filled()
{'relaxation': 'Sigmoid'}
"""

__all__ = [
    "augmentation",
    "cost",
    "discretization",
    "edge",
    "hypergradient",
    "optimizer",
    "paths",
    "perturbation",
    "regularizer",
    "relaxation",
    "schedule",
    "selection",
    "shapley",
    "stage",
    "state",
    "stopping",
    "weight_gradient",
]
