"""The test that a semantic cache hit must pass."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from quantserve.rag.cache.same import meaning_of, same_meaning, same_question

ROOT = Path(__file__).parents[3]
PAIRS = [
    json.loads(line)
    for line in (ROOT / "tests/data/rag/question_pairs.jsonl").read_text("utf-8").splitlines()
]
NEAR_MISSES = [pair for pair in PAIRS if not pair["same"]]
PARAPHRASES = [pair for pair in PAIRS if pair["same"]]


def test_the_set_is_large_enough_to_say_something() -> None:
    assert len(NEAR_MISSES) >= 60
    assert len(PARAPHRASES) >= 40
    assert {pair["differs"] for pair in NEAR_MISSES} >= {"number", "negation", "name", "question word"}


@pytest.mark.parametrize("pair", NEAR_MISSES, ids=lambda pair: pair["one"])
def test_a_near_miss_is_not_the_same_question(pair: dict[str, str]) -> None:
    assert not same_question(pair["one"], pair["other"])
    assert not same_question(pair["other"], pair["one"])


def test_most_paraphrases_are_the_same_question() -> None:
    hits = sum(same_question(pair["one"], pair["other"]) for pair in PARAPHRASES)
    assert hits >= 33, f"{hits} of {len(PARAPHRASES)}"


@pytest.mark.parametrize("pair", PAIRS[::7], ids=lambda pair: pair["one"])
def test_a_question_is_the_same_as_itself_in_other_dress(pair: dict[str, str]) -> None:
    assert same_question(pair["one"], f"  {pair['one'].rstrip('?.')} ")


def test_no_two_of_the_sample_questions_are_taken_for_one() -> None:
    lines = (ROOT / "samples/questions.jsonl").read_text("utf-8").splitlines()
    taken = [(row["question"], meaning_of(row["question"])) for row in map(json.loads, lines)]
    alike = [(a[0], b[0]) for a, b in itertools.combinations(taken, 2) if same_meaning(a[1], b[1])]
    assert alike == []


OPPOSITES = (
    ("이상", "이하"), ("전에", "후에"), ("최대", "최소"), ("할 수 있", "할 수 없"), ("하나요", "하지 않나요"),
    ("되나요", "안 되나요"), ("있나요", "없나요"), ("언제", "어디서"), ("누가", "왜"), ("어떻게", "왜"),
    ("매달", "매주"), ("국내", "해외"), ("해도", "하지 않아도"), ("maximum", "minimum"), ("before", "after"),
    ("How many", "How much"), ("When", "Where"), ("Who", "Why"), ("can I", "can I not"),
    ("does", "does not"), ("is ", "is not "), ("should", "should not"), ("must", "may"),
    ("first", "second"), ("with ", "without "), ("all", "some"), ("higher", "lower"),
)  # fmt: skip


def changed(question: str) -> list[str]:
    """The question with each number raised, and each word of the table turned round."""
    found = [
        f"{question[: number.start()]}{int(number[0]) + 3}{question[number.end() :]}"
        for number in re.finditer(r"\d+", question)
    ]
    for one, other in OPPOSITES:
        found += [question.replace(a, b, 1) for a, b in ((one, other), (other, one)) if a in question]
    return [text for text in found if text != question]


def test_a_changed_number_or_opposite_makes_another_question() -> None:
    lines = (ROOT / "samples/questions.jsonl").read_text("utf-8").splitlines()
    pairs = [(q, other) for q in (json.loads(line)["question"] for line in lines) for other in changed(q)]
    assert len(pairs) > 150
    assert [pair for pair in pairs if same_question(*pair)] == []
