"""Variety among what was found: MMR by the score that ordered the passages, and copies put aside."""

from __future__ import annotations

import numpy as np
import pytest

from quantserve.rag.retrieve.duplicates import Distinct, plain
from quantserve.rag.retrieve.mmr import mmr_order
from quantserve.rag.store.chunks import Chunk

# three near-copies, and one of its own
VECTORS = np.array([[1, 0], [0.99, 0.14], [0.98, 0.2], [0, 1]], np.float32)


def test_all_weight_on_relevance_keeps_the_order_of_the_scores() -> None:
    assert mmr_order([3.0, 9.0, -1.0, 5.0], VECTORS, 4, 1.0) == [1, 3, 0, 2]


def test_the_score_decides_and_not_the_cosine() -> None:
    """The vectors know nothing of the question: only the scores do."""
    assert mmr_order([0.1, 0.2, 7.0, 0.3], VECTORS, 1, 0.5) == [2]


def test_a_near_copy_gives_way_to_something_else() -> None:
    assert mmr_order([1.0, 0.9, 0.8, 0.6], VECTORS, 3, 0.5) == [0, 3, 1]


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_the_scale_of_the_scores_does_not_matter(scale: float) -> None:
    scores = [scale * score + 5 * scale for score in (1.0, 0.9, 0.8, 0.6)]
    assert mmr_order(scores, VECTORS, 3, 0.5) == [0, 3, 1]


def test_few_or_equal_candidates() -> None:
    assert mmr_order([], np.empty((0, 2), np.float32), 3, 0.5) == []
    assert mmr_order([4.0], VECTORS[:1], 3, 0.5) == [0]
    assert mmr_order([1.0, 1.0], np.array([[1, 0], [1, 0]], np.float32), 3, 0.5) == [0, 1]


def chunk(text: str, file: str) -> Chunk:
    return Chunk(f"{file}{text}", f"/{file}", file, None, "", 0, len(text), text, text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Keys live for 180 days.", "Keys  live\nfor 180 days.", True),
        ("Keys live for 180 days.", "KEYS LIVE FOR 180 DAYS.", True),
        ("ｋｅｙｓ 180", "keys 180", True),
        ("Keys live for 180 days.", "Keys live for 90 days.", False),
        ("At 1.5 bar.", "At 15 bar.", False),
        ("At -5 degrees.", "At 5 degrees.", False),
        ("It is on.", "It is off.", False),
        ("a < b", "a > b", False),
    ],
)
def test_copies_differ_in_case_and_spacing_alone(one: str, other: str, same: bool) -> None:
    assert (plain(one) == plain(other)) is same


def test_the_first_copy_stays_and_tells_of_the_others() -> None:
    distinct = Distinct()
    given = [
        chunk("Keys live for 180 days.", "a.md"),
        chunk("keys live for 180 days.", "b.md"),
        chunk("Bulbs burn for 900 hours.", "a.md"),
        chunk("Keys live  for 180 days.", "c.md"),
        chunk("Keys live for 180 days.", "a.md"),
    ]
    assert [distinct.take(one) for one in given] == [True, False, True, False, False]
    assert (distinct.kept, distinct.also_in) == ([0, 2], {0: ["b.md", "c.md"]})


def test_what_stands_whole_in_a_better_passage_says_nothing_new() -> None:
    distinct = Distinct()
    assert distinct.take(chunk("Keys live for 15 days. Ask for a new one.", "a.md"))
    assert not distinct.take(chunk("Ask for a new one.", "b.md"))
    assert distinct.take(chunk("5 days.", "c.md"))  # no piece of "15 days."
