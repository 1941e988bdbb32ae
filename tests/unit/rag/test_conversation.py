"""Follow-up questions that stand alone before they are searched for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quantserve.rag.answer.conversation import condense, is_fair, leans_on_history
from quantserve.rag.llm import Message

HISTORY = [
    {"role": "user", "content": "해외 출장 일비는 얼마인가요?"},
    {"role": "assistant", "content": "하루 90달러입니다. [1]"},
]


@pytest.mark.parametrize(
    ("question", "leans"),
    [
        ("국내는?", True),
        ("그건 누가 승인하고 언제까지 내야 하나요?", True),
        ("그럼 출장을 가기 전에 미리 받을 수 있나요?", True),
        ("그리고 통역을 부르면 그 비용은 누가 내나요?", True),
        ("Who approves it before the trip begins?", True),
        ("And what about a trip inside the country?", True),
        ("해외 출장 중에 통역을 부르면 비용은 누가 내나요?", False),
        ("Who pays for an interpreter on a trip abroad?", False),
    ],
)
def test_which_questions_lean_on_what_was_said(question: str, leans: bool) -> None:
    assert leans_on_history(question, HISTORY) is leans
    assert not leans_on_history(question, [])


def asking(said: str) -> tuple[list[Sequence[Message]], str]:
    seen: list[Sequence[Message]] = []

    def ask(messages: Sequence[Message], tokens: int) -> str:
        seen.append(messages)
        return said

    return seen, condense("국내는?", HISTORY, ask, 500)


def test_the_model_makes_it_stand_alone() -> None:
    seen, made = asking('"국내 출장 일비는 얼마인가요?"')
    assert made == "국내 출장 일비는 얼마인가요?"
    content = seen[0][-1]["content"]
    assert "사용자: 해외 출장 일비는 얼마인가요?\n도우미: 하루 90달러입니다." in content
    assert content.endswith("마지막 질문: 국내는?")


@pytest.mark.parametrize("said", ["", "How much is it at home?", "첫째 줄\n둘째 줄", "국내 출장비 70달러?"])
def test_what_cannot_be_true_is_replaced_by_the_rule(said: str) -> None:
    assert asking(said)[1] == "해외 출장 일비는 얼마인가요? 국내는?"


def test_numbers_of_the_question_must_stay() -> None:
    assert is_fair("3일 출장의 일비는 얼마인가요?", "3일이면?", HISTORY)
    assert not is_fair("출장의 일비는 얼마인가요?", "3일이면?", HISTORY)


def test_without_a_capable_model_the_rule_decides() -> None:
    assert condense("국내는?", HISTORY, None, 500) == "해외 출장 일비는 얼마인가요? 국내는?"
    assert condense("국내는?", [], None, 500) == "국내는?"
