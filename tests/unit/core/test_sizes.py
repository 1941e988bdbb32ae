from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.sizes import binary_size, decimal_size


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (45_000_000, "45.0 MB"),
        (1_640_000_000, "1.6 GB"),
        (10**15, "1.0 PB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_a_size_has_the_unit_that_fits(size_bytes: int, said: str) -> None:
    assert decimal_size(size_bytes) == said


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (1023, "1023 B"),
        (1 << 10, "1.0 KiB"),
        (269_060_552, "256.6 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1.0 PiB"),
    ],
)
def test_memory_is_counted_in_powers_of_1024(size_bytes: int, said: str) -> None:
    assert binary_size(size_bytes) == said


@given(st.integers(1, 10**18))
def test_no_size_is_said_as_nothing_or_as_a_row_of_digits(size_bytes: int) -> None:
    number = float(re.split(" ", decimal_size(size_bytes))[0])
    assert 1 <= number < 1000 or size_bytes > 999 * 10**15
