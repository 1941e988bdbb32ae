"""Places: never more than there are, never more of one owner than its share, all free at the end."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.http.admission import Places
from quantserve.core.http.refusal import Refusal

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.booleans()), max_size=60)


@given(STEPS, st.integers(3, 6), st.sampled_from([None, 3, 4]))
def test_counts_hold_whatever_comes_and_goes(
    steps: list[tuple[str, int, bool]], limit: int, share: int | None
) -> None:
    places = Places(limit, share)
    held: list[tuple[str, int]] = []
    for owner, count, comes in steps:
        if comes:
            with contextlib.suppress(Refusal):
                places.take(count, owner)
                held.append((owner, count))
        elif held:
            owner, count = held.pop()
            places.release(count, 1.0, owner)
        of = {each: sum(n for name, n in held if name == each) for each in "abc"}
        assert places.taken == sum(of.values()) <= limit
        assert share is None or max(of.values()) <= share
    for owner, count in held:
        places.give_back(count, owner)
    for owner in "ab":
        places.take(1, owner)
    assert places.taken == 2


def test_whose_places_are_taken_is_told() -> None:
    places = Places(3, 1, what="uploads", code="too_many_uploads")
    with places.place("a"), places.place("b"), pytest.raises(Refusal) as own:
        places.take(owner="a")
    assert (own.value.status, own.value.code, own.value.retry_after_s) == (429, "too_many_uploads", 1)
    assert str(own.value) == "1 uploads of this key are running and waiting, 1 are the most; try again"
    assert places.taken == 0


def test_a_place_is_free_again_when_the_work_failed() -> None:
    places = Places(1)
    with contextlib.suppress(ZeroDivisionError), places.place():
        raise ZeroDivisionError
    assert places.taken == 0
