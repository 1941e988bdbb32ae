from __future__ import annotations

import pytest

from quantserve.quantize.gate.facts.answers import (
    ChatAnswer,
    compare_answers,
    length_ratio,
    problems,
    repetition,
    same_prompts,
)

LOOP = "I am a model and " * 10


def answer(
    text: str = "Paris.", reason: str | None = "stop", tokens: int = 2, ids: int | None = 1
) -> ChatAnswer:
    return ChatAnswer("Where?", text, reason, tokens, None if ids is None else (ids,))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d e f g h i j k l m n o", 0.0),
        # 16 words, 13 runs of four, of which only "a b c d", "b c d a", "c d a b", "d a b c" differ
        ("a b c d " * 4, 9 / 13),
        ("a b c d a b c d", 0.0),  # too short to tell
    ],
)
def test_repetition(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (answer(), ()),
        (answer(" \n"), ("is empty",)),
        (answer(reason="length", tokens=192), ("does not end by itself (length after 192 tokens)",)),
        (answer(LOOP), ("repeats itself (89% of its 4-word runs)",)),
    ],
)
def test_problems(given: ChatAnswer, found: tuple[str, ...]) -> None:
    assert problems(given) == found


@pytest.mark.parametrize(
    ("base", "candidate", "newly_bad"),
    [
        (answer(), answer(""), True),
        (answer(""), answer(""), False),
        (answer(""), answer(), False),
        (answer(), answer(), False),
    ],
)
def test_an_answer_is_held_against_the_candidate_only_where_the_base_is_good(
    base: ChatAnswer, candidate: ChatAnswer, newly_bad: bool
) -> None:
    assert compare_answers([base], [candidate])[0].newly_bad is newly_bad


def test_length_ratio_counts_all_answers_together() -> None:
    pairs = compare_answers([answer(tokens=10), answer(tokens=30)], [answer(tokens=20), answer(tokens=80)])

    assert length_ratio(pairs) == 2.5


def test_length_ratio_of_a_silent_base_is_unknown() -> None:
    assert length_ratio(compare_answers([answer(tokens=0)], [answer()])) is None


@pytest.mark.parametrize(("one", "other", "same"), [(1, 1, True), (1, 2, False), (None, 1, None)])
def test_same_prompts(one: int | None, other: int | None, same: bool | None) -> None:
    assert same_prompts(compare_answers([answer(ids=one)], [answer(ids=other)])) is same
