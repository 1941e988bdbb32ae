"""From marks to checks: when the short prompts speak against an artifact."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quantserve.quantize.gate.facts import Fact
from quantserve.quantize.gate.facts.answers import ChatAnswer
from quantserve.quantize.gate.facts.comparing import FactFindings, compare_facts
from quantserve.quantize.gate.judge.fact_checks import fact_checks
from quantserve.quantize.gate.judge.thresholds import GateCheck, Thresholds

LIMITS = Thresholds(0.10, 0.10, 0.80, 0.95, 1, max_divergence=0.05)
RIGHT, WRONG = "Paris", "Rome"


def findings(
    base: str, candidate: str, float32: str | None = None, languages: str | None = None, no_floor: str = ""
) -> FactFindings:
    """One letter a prompt: r is right, w is wrong, e is empty, a repeats itself."""
    facts = [
        Fact(
            f"f{n}",
            "ko" if languages and languages[n] == "k" else "en",
            "x",
            f"Q{n}?",
            "contains",
            (RIGHT,),
            (),
        )
        for n in range(len(base))
    ]
    return compare_facts(
        facts, answers(base), answers(candidate), None if float32 is None else answers(float32), no_floor
    )


def answers(letters: str) -> list[ChatAnswer]:
    texts = {"r": RIGHT, "w": WRONG, "e": " ", "a": "la femme " * 20}
    return [
        ChatAnswer("Q?", texts[letter], "stop", 2, None, tuple(texts[letter].encode()) or (0,))
        for letter in letters
    ]


def named(checks: Sequence[GateCheck], name: str) -> GateCheck:
    (found,) = [check for check in checks if check.name == name]
    return found


def no_divergence(found: FactFindings) -> tuple[GateCheck, ...]:
    return tuple(one for one in fact_checks(found, LIMITS) if not one.name.startswith("greedy"))


@pytest.mark.parametrize(
    ("base", "candidate", "float32", "passed"),
    [
        ("r" * 20, "r" * 20, "r" * 20, True),
        ("r" * 20, "w" * 4 + "r" * 16, "r" * 20, True),  # p = 1/16
        ("r" * 20, "w" * 5 + "r" * 15, "r" * 20, False),  # p = 1/32
        ("r" * 20, "w" * 5 + "r" * 15, None, False),
        ("r" * 20, "w" * 5 + "r" * 15, "w" + "r" * 19, True),  # against float32 four lost: p = 1/16
        ("r" * 15 + "w" * 5, "w" * 5 + "r" * 15, "r" * 20, True),  # five lost, five won
        ("r" * 4 + "w" * 16, "w" * 20, "r" * 4 + "w" * 16, None),  # too few to say
    ],
)
def test_lost_facts_against_the_base_in_both_arithmetics(
    base: str, candidate: str, float32: str | None, passed: bool | None
) -> None:
    assert named(fact_checks(findings(base, candidate, float32), LIMITS), "short prompts").passed is passed


def test_the_row_says_what_was_lost_and_against_what() -> None:
    check = named(
        fact_checks(findings("r" * 20, "w" * 5 + "r" * 15, "r" * 19 + "w"), LIMITS), "short prompts"
    )
    assert (check.base, check.candidate) == ("20 of 20 right", "15 of 20 right")
    assert check.reason == (
        "short prompts: 5 lost, 1 won, p = 0.11 against float32 "
        "(against the base in float32 5 lost, 1 won, p = 0.11; "
        "lost: 'Q0?', 'Q1?', 'Q2?' and 2 more), needed p ≥ 0.05"
    )


def test_the_noise_floor_is_shown_beside_it() -> None:
    check = named(
        fact_checks(findings("rrrrrw", "rrrrrw", "wrrrrr"), LIMITS), "short prompts, base against itself"
    )
    assert (check.candidate, check.value, check.passed) == (
        "5 right in float32",
        "1 lost, 1 won, p = 0.75",
        None,
    )


def test_without_a_floor_the_row_says_why() -> None:
    check = named(
        fact_checks(findings("r" * 6, "r" * 6, no_floor="no room"), LIMITS),
        "short prompts, base against itself",
    )
    assert check.value == "no room"


def test_a_loss_in_one_of_two_languages_does_not_hide_behind_the_other() -> None:
    """Six lost in Korean, six won in English: nothing lost together, but p = 1/64 in Korean."""
    found = findings("r" * 10 + "w" * 6 + "r" * 6, "r" * 10 + "r" * 6 + "w" * 6, None, "e" * 16 + "k" * 6)
    checks = no_divergence(found)
    assert [(one.name, one.passed, one.limit) for one in checks[:3]] == [
        ("short prompts", True, "p ≥ 0.05"),
        ("short prompts, en", True, "p ≥ 0.025"),
        ("short prompts, ko", False, "p ≥ 0.025"),
    ]


@pytest.mark.parametrize(("letter", "passed"), [("e", False), ("a", False), ("w", True)])
def test_empty_and_repetitive_answers_are_found_where_nothing_was_right(letter: str, passed: bool) -> None:
    checks = fact_checks(findings("w" * 8, letter * 8), LIMITS)
    assert named(checks, "short answers").passed is passed


@pytest.mark.parametrize(
    ("changed", "floor", "passed"),
    [
        (0, None, True),
        (1, None, True),  # one difference in 100 tokens
        (8, None, False),  # eight in 100
        (8, 5, True),  # of which five in 100 are the base's own
    ],
)
def test_answers_may_part_a_little_more_than_the_bases_own(
    changed: int, floor: int | None, passed: bool
) -> None:
    def some(parted: int) -> list[ChatAnswer]:
        ids = [(1, 2, 3, 4, 9) if n < parted else (1, 2, 3, 4, 5) for n in range(20)]
        return [ChatAnswer("Q?", WRONG, "stop", 5, None, one) for one in ids]

    facts = [Fact(f"f{n}", "en", "x", f"Q{n}?", "contains", (RIGHT,), ()) for n in range(20)]
    found = compare_facts(facts, some(0), some(changed), None if floor is None else some(floor))
    assert named(fact_checks(found, LIMITS), "greedy divergence, a token").passed is passed


def test_an_engine_that_gives_no_tokens_leaves_the_divergence_unknown() -> None:
    facts = [Fact("f0", "en", "x", "Q?", "contains", (RIGHT,), ())]
    one = [ChatAnswer("Q?", WRONG, "stop", 5, None, None)]
    check = named(fact_checks(compare_facts(facts, one, one, None), LIMITS), "greedy divergence, a token")
    assert (check.value, check.passed) == ("unknown", None)


def test_nothing_asked_is_nothing_judged() -> None:
    assert fact_checks(None, LIMITS) == ()
    assert fact_checks(compare_facts([], [], [], None), LIMITS) == ()
