"""The options that say where searches run; they change no result. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from archgrad.errors import ArchgradError, explain
from archgrad.settings.section import Section

RETRIES = 2


class PoolConfig(Section):
    """Where independent searches run. Kept in no folder: to go on they may be others."""

    pool: Literal["auto", "ray", "processes"] = Field(
        "auto",
        description="where searches run: processes of this machine, or ray, here or on a cluster; "
        "auto: ray where it is installed and several go on at a time, or on a cluster that "
        "address or RAY_ADDRESS names",
    )
    address: str | None = Field(
        None, description="of a Ray cluster, as HOST:PORT, or auto on one of its machines [none]"
    )
    gpus: float | None = Field(
        None,
        gt=0,
        le=1,
        description="part of a GPU that each search gets, such as 0.5 [1, or less where parallel "
        "asks for more searches than GPUs]",
    )
    retries: int = Field(
        RETRIES,
        ge=0,
        description="times that a search whose process is killed goes on in another, from its "
        "last epoch",
    )


class SweepPool(PoolConfig):
    """Of a sweep, with how many at a time; a comparison has an option of its own for that."""

    parallel: int = Field(
        0, ge=0, description="searches at a time; 0: one a CPU core, or one on each GPU"
    )


Config = TypeVar("Config", bound=PoolConfig)


def pool_of(options: dict[str, Any], kind: type[Config]) -> Config:
    """Takes the options of a pool out of those of a verb in Python."""
    return checked({name: options.pop(name) for name in kind.model_fields if name in options}, kind)


def checked(values: Mapping[str, Any], kind: type[Config]) -> Config:
    """The options, or an error that names the field."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ArchgradError(f"options: {explain(error)}") from None
