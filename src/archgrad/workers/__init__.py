"""Independent calls side by side, in processes of this machine or on Ray: the same results."""

from archgrad.workers.calls import Crew, WorkerKilled, made
from archgrad.workers.choosing import HERE, Place, check_pool, place
from archgrad.workers.local import LocalCrew

__all__ = [
    "HERE",
    "Crew",
    "LocalCrew",
    "Place",
    "WorkerKilled",
    "check_pool",
    "made",
    "place",
]
