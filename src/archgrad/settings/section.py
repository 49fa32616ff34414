"""What the sections of a configuration share: their base, and texts. Imports no torch."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

PAPER = "arXiv:1806.09055"
CODE = "the original code"
STAGED = "nas-bench-201 and mbconv"
PRECISION = (
    "float32 (on a GPU without TF32), or bf16: convolutions in bfloat16, weights, statistics and "
    "losses in float32"
)
STEM = "imagenet: three convolutions that divide the image by 8; of darts-cnn and s1 to s4"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError(f"found {value}, expected no truth value")
        return value
