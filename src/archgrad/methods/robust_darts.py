"""RobustDARTS: four ways to keep the validation loss flat in alpha."""

from __future__ import annotations

from archgrad.errors import unknown
from archgrad.parts.augmentation import RandomCutout
from archgrad.parts.edge import EdgeDropPath
from archgrad.parts.hypergradient import Exact
from archgrad.parts.method import Method, Recovery
from archgrad.parts.schedule import Linear
from archgrad.parts.stopping import EigenvalueStop

FORMS = ("early_stopping", "l2", "drop_path", "adaptive")


def robust_darts(
    *,
    form: str = "early_stopping",
    eigenvalue_ratio: float = 1.3,
    first_epoch: int = 10,
    weight_decay_factor: float = 9.0,
    drop_path: float = 0.2,
    recovery_factor: float = 10.0,
    recovery_cap: float = 0.03,
) -> Method:
    r"""RobustDARTS (Zela et al., ICLR 2020, arXiv:1909.09656), on second-order DARTS.

    `form`: "early_stopping" ends the search where the dominant eigenvalue of
    :math:`\nabla^2_\alpha L_{val}`, smoothed, has grown by `eigenvalue_ratio` since (from
    `first_epoch` on; both used by "early_stopping" and "adaptive"), and returns the architecture
    from before; "l2" multiplies the weights' decay by `weight_decay_factor` (used by "l2"; 3, 9,
    27 or 81 in the paper); "drop_path" raises drop path on the edges and cutout of 16 pixels to
    `drop_path` (used by "drop_path"; 0.2, 0.4 or 0.6); "adaptive" goes back to before the growth
    and on with `recovery_factor` times the weight decay, at most `recovery_cap` (both used by
    "adaptive").

    Differs from the paper: second order is `Exact`, by docs/second_order.md; after a recovery the
    virtual step has the new weight decay too (the original keeps the old one). To choose among
    several strengths by validation, as the paper's R-DARTS does, run one search for each.

    Raises `ArchgradError` for another `form`.
    """
    if form not in FORMS:
        raise unknown("form of robust_darts", form, FORMS)
    rule = EigenvalueStop(threshold=eigenvalue_ratio, first=first_epoch)
    drop = form == "drop_path"
    return Method(
        hypergradient=Exact(),
        weight_decay=weight_decay_factor if form == "l2" else 1.0,
        edges=(EdgeDropPath(Linear(0.0, drop_path)),) if drop else (),
        augmentation=RandomCutout(16, Linear(0.0, drop_path)) if drop else None,
        stopping=rule if form in ("early_stopping", "adaptive") else None,
        recovery=Recovery(recovery_factor, recovery_cap) if form == "adaptive" else None,
    )
