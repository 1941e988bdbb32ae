"""What counts as a right answer: fair to form, strict on substance."""

from __future__ import annotations

import pytest

from quantserve.quantize.gate.facts import Fact, Rule
from quantserve.quantize.gate.facts.checking import is_right


def fact(
    rule: Rule, *accept: str, question: str = "What?", reject: tuple[str, ...] = (), language: str = "en"
) -> Fact:
    return Fact("en-x-01", language, "x", question, rule, accept, reject)


@pytest.mark.parametrize(
    ("one", "answer", "expected"),
    [
        (fact("contains", "Paris"), "The capital of France is Paris.", True),
        (fact("contains", "Paris"), "**PARIS**", True),
        (fact("contains", "Paris"), "It is \uff30\uff41\uff52\uff49\uff53.", True),  # full-width letters
        (fact("contains", "Paris"), "It is in the Parisian basin.", False),
        (fact("contains", "Paris"), "L'Étoile de la Cité, la Cité de la France", False),
        (fact("contains", "Paris"), "", False),
        (fact("contains", "the Sun"), "It travels around the sun, a star.", True),
        (fact("contains", "mice", "mouses"), "Two mouses.", True),
        (fact("contains", "H2O"), "Water is H₂O.", True),
        (fact("contains", "H2O"), "Water is $H_2O$.", True),
        (fact("contains", "CO2"), r"It is \text{CO}_{2}.", True),
        (fact("contains", "C"), "Its symbol is C.", True),
        (fact("contains", "C"), "Its symbol is Ca.", False),
        (fact("contains", "O"), "o dear", False),  # one letter has its case
        (fact("contains", "8"), "It costs 8 euros.", True),
        (fact("contains", "8"), "It costs 8.50 euros.", False),
        (fact("contains", "8"), "It costs 18 euros.", False),
        (fact("contains", "elephant", reject=("mouse",)), "An elephant is bigger than a mouse.", True),
        (fact("contains", "elephant", reject=("mouse",)), "A mouse is bigger than an elephant.", False),
        (fact("exact", "OK"), "ok.", False),
        (fact("exact", "OK"), '"OK."', True),
        (fact("exact", "cat", "a cat"), "cat", True),
        (fact("exact", "cat", "a cat"), "The answer is cat", False),
        (fact("number", "4", question="What is 2 + 2?"), "2 + 2 = 4", True),
        (fact("number", "4", question="What is 2 + 2?"), "Four.", True),
        (fact("number", "4", question="What is 2 + 2?"), "2 + 2 = 5, not 4", False),
        (fact("number", "1000"), "There are 1,000 grams.", True),
        (fact("number", "26"), "twenty-six letters", True),
        (fact("number", "100"), "one hundred cents", True),
        (fact("number", "100"), "0.100", False),
        (fact("number", "60", question="How many minutes are in one hour?"), "One hour has 60.", True),
        (fact("every", "red blue", "red yellow"), "Blue and red.", True),
        (fact("every", "red blue", "red yellow"), "Red.", False),
        (fact("order", "apple", "banana"), "apple, then banana", True),
        (fact("order", "apple", "banana"), "banana, apple", False),
        (fact("order", "apple", "banana"), "apple", False),
        (fact("pattern", r"1\D+2\D+3"), "1, 2, 3", True),
        (fact("pattern", r"1\D+2\D+3"), "3, 2, 1", False),
        (fact("pattern", r"(?i)\byes\b", reject=("no",)), "No, not yes.", False),
    ],
)
def test_an_english_answer(one: Fact, answer: str, expected: bool) -> None:
    assert is_right(one, answer) is expected


@pytest.mark.parametrize(
    ("accept", "answer", "expected"),
    [
        ("서울", "서울", True),
        ("서울", "대한민국의 수도는 서울입니다.", True),
        ("서울", "서울이에요", True),
        ("서울", "서울은 대한민국의 수도입니다.", True),
        ("물", "물고기가 됩니다.", False),
        ("물", "그것은 동물입니다.", False),
        ("밤", "밤이요", True),
        ("책", "'책'을 뜻합니다.", True),
        ("세종", "세종대왕입니다.", False),  # a longer name is an accepted string of its own
        ("파리", "Paris", False),
        ("H2O", "물의 화학식은 H2O입니다.", True),
        ("water", "물은 영어로 water입니다.", True),
    ],
)
def test_a_korean_answer_may_carry_particles(accept: str, answer: str, expected: bool) -> None:
    assert is_right(fact("contains", accept, language="ko"), answer) is expected


@pytest.mark.parametrize(
    ("answer", "expected"), [("4개입니다.", True), ("네 개입니다.", True), ("5개", False)]
)
def test_a_korean_count_may_be_a_numeral(answer: str, expected: bool) -> None:
    one = fact("number", "4", "네", "넷", question="강아지의 다리는 몇 개인가요?", language="ko")
    assert is_right(one, answer) is expected
