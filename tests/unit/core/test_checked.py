"""Values that a configuration cannot have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pytest

from quantserve.core.checked import Checked, Range
from quantserve.core.errors import UsageError


@dataclass(frozen=True)
class Sample(Checked):
    mode: Literal["dense", "bm25"] = "dense"
    top_k: Annotated[int, Range(1, 100)] = 4
    share: Annotated[float, Range(0, 1)] | None = None
    wait_s: Annotated[float, Range(above=0)] = 1.0
    score: float = 0.0
    on: bool = True
    name: str = ""


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("mode", "dens", "mode cannot be 'dens'. Choose one of: dense, bm25"),
        ("mode", None, "mode cannot be None"),
        ("top_k", 0, "top_k cannot be 0. Give a whole number from 1 to 100"),
        ("top_k", -1, "top_k cannot be -1"),
        ("top_k", 10**12, "top_k cannot be 1000000000000"),
        ("top_k", 2.0, "a whole number"),
        ("top_k", True, "a whole number"),
        ("top_k", "4", "a whole number"),
        ("top_k", None, "a whole number"),
        ("share", math.nan, "share cannot be nan. Give a number from 0 to 1"),
        ("share", 1.5, "share cannot be 1.5"),
        ("wait_s", 0, "wait_s cannot be 0. Give a number above 0"),
        ("wait_s", math.inf, "wait_s cannot be inf"),
        ("score", math.nan, "score cannot be nan. Give a number"),
        ("on", "no", "on cannot be 'no'. Give True or False"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(field: str, value: Any, told: str) -> None:
    with pytest.raises(UsageError) as made:
        Sample(**{field: value})
    with pytest.raises(UsageError) as changed:
        replace(Sample(), **{field: value})
    assert str(made.value) == str(changed.value)
    assert told in str(made.value)
    assert "\n" not in str(made.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "bm25"),
        ("top_k", 100),
        ("share", None),
        ("share", 1),
        ("wait_s", 0.1),
        ("score", -3),
        ("on", False),
    ],
)
def test_a_right_value_is_taken(field: str, value: Any) -> None:
    assert getattr(Sample(**{field: value}), field) == value
