"""docs/quantization-methods.md holds the table of what the tests hold."""

from __future__ import annotations

from tests.architectures.outcomes import PAGE, with_table


def test_the_table_is_that_of_the_outcomes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run: python -m tests.architectures.outcomes"
