"""P-DARTS: closer to the depth of the final network, stage by stage."""

from __future__ import annotations

from archgrad.parts.discretization import SkipLimit
from archgrad.parts.edge import SkipDropout
from archgrad.parts.method import Method
from archgrad.parts.optimizer import Adam
from archgrad.parts.schedule import Fading
from archgrad.parts.stage import Stage


def p_darts(
    *,
    more_cells: int = 6,
    candidates_2: int = 5,
    candidates_3: int = 3,
    dropout_1: float = 0.0,
    dropout_2: float = 0.4,
    dropout_3: float = 0.7,
    skips: int = 2,
    warm_up: float = 0.4,
    alpha_learning_rate: float = 6e-4,
    alpha_weight_decay: float = 1e-3,
) -> Method:
    """P-DARTS (Chen et al., ICCV 2019, arXiv:1904.12760).

    Three stages of equal length, each begun anew: the space's own cells, `more_cells` more, twice
    as many more (5, 11 and 17 in the paper), with all, `candidates_2` and `candidates_3`
    candidates an edge, the strongest of the stage before. Dropout behind skip connections starts at
    `dropout_1`, `dropout_2` and `dropout_3` and fades within a stage; alpha rests for the
    first `warm_up` of each (10 of 25 epochs). At most `skips` skip connections in the normal
    cell.

    Differs from the original code: alpha's gradient is not clipped; the weights' learning rate
    falls to the search's own end (0 in the code), and the search says how many cells the first
    stage has (5 in the paper).
    """
    plan = ((None, dropout_1), (candidates_2, dropout_2), (candidates_3, dropout_3))
    stages = tuple(
        Stage(1 / 3, kept, index * more_cells, edges=(SkipDropout(Fading(dropout)),))
        for index, (kept, dropout) in enumerate(plan)
    )
    return Method(
        stages=stages,
        discretization=SkipLimit(skips),
        arch_optimizer=Adam(alpha_learning_rate, weight_decay=alpha_weight_decay),
        warm_up=warm_up,
    )
