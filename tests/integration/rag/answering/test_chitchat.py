"""Greetings, small talk and introductions beside real questions."""

from __future__ import annotations

import pytest

from quantserve.rag.answer.wording import CHITCHAT
from tests.integration.rag.answering.bench import BULBS, Bench


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("안녕하세요", "ko"),
        ("오늘 날씨 어때?", "ko"),
        ("너 누구야?", "ko"),
        ("고마워", "ko"),
        ("농담 하나 해 줘", "ko"),
        ("ㅎㅇ", "ko"),
        ("저는 김철수라고 합니다", "ko"),
        ("hi", "en"),
        ("Hello there!", "en"),
        ("thanks", "en"),
        ("tell me a joke", "en"),
        ("How are you today?", "en"),
        ("Hi! I'm Jake.", "en"),
    ],
)
def test_small_talk_gets_a_courteous_line_and_no_citation(bench: Bench, text: str, language: str) -> None:
    answer = bench.answerer().answer(text)
    assert (answer.mode, answer.text) == ("chitchat", CHITCHAT[language])
    assert (answer.cited, answer.passages, bench.asked) == ((), (), 0)


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        (f"Hello! {BULBS}", BULBS),
        ("안녕하세요, 입사 3년 차 직원의 연차는 며칠인가요?", "입사 3년 차 직원의 연차는 며칠인가요?"),
        ("제 이름은 Jake인데, 입사 3년 차 직원의 연차는 며칠인가요?", None),
        ("안녕하세요 입사 3년 차 직원의 연차는 며칠인가요?", None),
        ("조부모가 돌아가시면 며칠을 쉬나요? 감사합니다.", None),
        ("fog horn", None),
        ("Where is the cellar?", None),
    ],
)
def test_a_question_behind_a_greeting_is_answered(bench: Bench, text: str, searched: str | None) -> None:
    answer = bench.answerer(mode="extract").answer(text)
    assert (answer.mode, bool(answer.cited)) == ("extract", True)
    if searched is not None:
        assert answer.condensed_question == searched


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("TPM은 무엇인가요?", "TPM"),
        ("What is TPM?", "TPM"),
        ("엔비디아의 연차는 며칠인가요?", "엔비디아"),
        ("테슬라 직원은 며칠을 쉬나요?", "테슬라"),
        ("How do I restart the NVIDIA lamp?", "NVIDIA"),
    ],
)
def test_a_question_about_a_name_that_no_document_has_is_refused(
    bench: Bench, question: str, name: str
) -> None:
    answer = bench.answerer(min_similarity=0.0).answer(question)
    assert (answer.mode, name in answer.reason, bench.asked) == ("unknown", True, 0)


@pytest.mark.parametrize(
    "name",
    [
        "김민수",
        "Jake",
        "Who is Steve Jobs?",
        "Tiger room",
        "Emily Carter",
        "홍길동",
        "삼성전자",
        "Seoul",
        "박 과장",
    ],
)
def test_a_bare_name_is_looked_for(bench: Bench, name: str) -> None:
    answer = bench.answerer().answer(name)
    assert (answer.mode, answer.cited) == ("unknown", ())


def test_it_can_be_switched_off(bench: Bench) -> None:
    assert bench.answerer(mode="extract", chitchat=False).answer("hello").mode != "chitchat"


def test_half_of_a_surrogate_pair_is_no_end(bench: Bench) -> None:
    history = [{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "x\udc00"}]
    answer = bench.answerer().answer(f"{BULBS} \ud800", history=history, system="Be brief \udfff")
    assert answer.question == f"{BULBS} \ufffd"
    assert answer.mode == "generate"
    assert bench.answerer().answer(f"{BULBS} \ud800").mode == "generate"
