"""The helpers behind every message."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archgrad.errors import ArchgradError, Diverged, explain, out_of_memory, unknown


def test_both_errors_are_value_errors_and_divergence_can_be_told_apart() -> None:
    assert issubclass(ArchgradError, ValueError)
    assert issubclass(Diverged, ArchgradError)
    assert not isinstance(unknown("method", "x", []), Diverged)


def test_an_unknown_name_comes_with_the_nearest_and_the_sorted_list() -> None:
    error = unknown("method", "dart", iter(["pc_darts", "darts"]))
    assert isinstance(error, ArchgradError)
    assert str(error) == (
        'method "dart" is not known; did you mean "darts"? Known: darts, pc_darts'
    )


def test_without_a_near_name_only_the_list_is_given() -> None:
    assert str(unknown("method", "zzz", ["darts"])) == 'method "zzz" is not known; Known: darts'


def test_a_name_that_is_no_text_is_shown() -> None:
    assert str(unknown("class", 7, ["a"])).startswith('class "7" is not known')


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(ge=1)


class Outer(BaseModel):
    inner: list[Inner]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"inner": [{"size": 0}]}', "field inner.0.size: found 0, expected greater than or "),
        ('{"inner": [{"size": "x"}]}', "field inner.0.size: found 'x', expected a valid integer"),
        ('{"inner": [{}]}', "field inner.0.size is missing; add it"),
        ('{"inner": [{"size": 1, "b": 2}]}', "field inner.0.b is not known; remove it or correct"),
        ("[]", "field file: found [], expected an object"),
        ("{", "not valid JSON (EOF while parsing"),
    ],
)
def test_a_finding_names_field_found_and_expected(text: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(text)
    assert explain(caught.value).startswith(message)


def test_only_the_first_finding_is_told_and_long_values_are_cut() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": [{"size": "x" * 200}, {"size": 0}]})
    text = explain(caught.value)
    assert text.startswith("field inner.0.size: found 'xxx")
    assert "xxx..., expected" in text
    assert len(text) < 160


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected
