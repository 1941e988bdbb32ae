"""The pairs of questions that judges are measured on, and those that they must pass first."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from quantserve.rag.cache.answers import question_key
from quantserve.rag.cache.calibration import (
    JudgeFigures,
    QuestionPair,
    calibration_pairs,
    load_pairs,
    why_refused,
)
from quantserve.rag.text import language_of
from tests.programs import ROOT

PAIRS = load_pairs(ROOT / "tests/data/rag/question_pairs.jsonl")
NEAR_MISSES = [pair for pair in PAIRS if not pair.same]
OF_THE_ISSUE = (
    ("What must I pay when you cancel?", "What must you pay when I cancel?"),
    ("제가 회사에 얼마를 주나요?", "회사가 저에게 얼마를 주나요?"),
    ("Which form goes in the envelope?", "Which form goes on the envelope?"),
    ("How many tonnes are shipped to Rotterdam?", "How many tonnes are shipped from Rotterdam?"),
    ("May they record the call?", "May we record the call?"),
)


def word_sets(pairs: Sequence[QuestionPair]) -> set[frozenset[str]]:
    questions = {question for pair in pairs for question in (pair.one, pair.other)}
    return {frozenset(re.findall(r"\w+", question.lower())) for question in questions}


def test_the_set_is_large_enough_to_say_something() -> None:
    assert len(NEAR_MISSES) >= 300
    assert len(PAIRS) - len(NEAR_MISSES) >= 80
    for language in ("en", "ko"):
        kinds = [pair.kind for pair in NEAR_MISSES if language_of(pair.one) == language]
        assert len(kinds) >= 150
        assert {kind for kind in set(kinds) if kinds.count(kind) >= 7} >= {
            "roles", "preposition or particle", "negation", "number", "name", "tense", "quantifier",
            "comparison", "condition", "unit", "time or place", "question word", "modality", "opposite",
        }  # fmt: skip
    assert {(pair.one, pair.other) for pair in NEAR_MISSES} >= set(OF_THE_ISSUE)


def test_no_pair_stands_twice() -> None:
    for pairs in (PAIRS, calibration_pairs()):
        assert len({frozenset((pair.one, pair.other)) for pair in pairs}) == len(pairs)


def test_what_a_judge_is_tried_on_is_not_what_it_is_measured_on() -> None:
    measured, tried = word_sets(PAIRS), word_sets(calibration_pairs())
    alike = [len(one & other) / len(one | other) for one in measured for other in tried]  # Jaccard
    assert max(alike) < 0.75


def test_the_trial_has_near_misses_first_in_both_languages() -> None:
    pairs = calibration_pairs()
    assert [pair.same for pair in pairs] == [False] * 60 + [True] * 24
    assert {language_of(pair.one) for pair in pairs[:8]} == {"en", "ko"}


def test_no_near_miss_is_an_exact_hit() -> None:
    assert [pair for pair in NEAR_MISSES if question_key(pair.one) == question_key(pair.other)] == []


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        (JudgeFigures(60, 0, 24, 24), ""),
        (JudgeFigures(60, 1, 24, 1), ""),
        (JudgeFigures(60, 2, 24, 24), "2 of 60 pairs of different questions for the same (3%; at most 2%"),
        (JudgeFigures(8, 8, 0, 0), "8 of 8 pairs of different questions for the same (100%; at most 2%"),
        (JudgeFigures(60, 0, 24, 0), "none of 24 true paraphrases. Serve"),
        (JudgeFigures(60, 0, 24, 0, unclear=84), "84 answers were neither yes nor no. Serve"),
    ],
    ids=str,
)
def test_a_judge_is_refused_by_its_figures(figures: JudgeFigures, why: str) -> None:
    told = why_refused("some-model", figures, 0.02)
    assert why in told
    assert bool(told) == bool(why)
    assert "\n" not in told
