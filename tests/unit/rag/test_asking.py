"""Which part of a question asks, which names it asks about, and loanwords in two scripts."""

from __future__ import annotations

import pytest

from quantserve.rag.trust.asking import asked_part
from quantserve.rag.trust.loanwords import is_known_loanword, korean_sounds
from quantserve.rag.trust.names import names_in


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("제 이름은 Jake인데, 만 5년을 일하면 어떤 휴가를 받나요?", "만 5년을 일하면 어떤 휴가를 받나요?"),
        ("저는 엔비디아에서 온 제이크입니다. 연차는 며칠인가요?", "연차는 며칠인가요?"),
        ("제 동료 Jake가 물어보는데, 휴가는 며칠인가요?", "휴가는 며칠인가요?"),
        ("제 이름은 김민수인데 연체료는 얼마인가요?", " 연체료는 얼마인가요?"),
        ("제 친구 김민수가 물어보는데 몇 권까지 빌리나요?", " 몇 권까지 빌리나요?"),
        ("저는 김민수고 연체료는 얼마예요?", " 연체료는 얼마예요?"),
        ("TPM이 무엇인데 켜야 하나요?", "TPM이 무엇인데 켜야 하나요?"),
        ("TPM이 무엇인지 알려 주세요.", "TPM이 무엇인지 알려 주세요."),
        ("엔비디아가 새 제품을 냈는데 얼마인가요?", "엔비디아가 새 제품을 냈는데 얼마인가요?"),
        ("My name is Jake. How long do keys live?", "How long do keys live?"),
        ("Hi, I'm Jake from Acme, how long do keys live?", "how long do keys live?"),
        ("Jake, how long do keys live?", "how long do keys live?"),
        ("I work with Pinecone, and how long do keys live?", "and how long do keys live?"),
        ("When TPM is enabled, how do I log in?", "When TPM is enabled, how do I log in?"),
        ("For NVIDIA cards, how many do I need?", "For NVIDIA cards, how many do I need?"),
        ("If Jake leaves, who takes over?", "If Jake leaves, who takes over?"),
        ("TPM을 켜면, 어떻게 로그인하나요?", "TPM을 켜면, 어떻게 로그인하나요?"),
        ("연차 신청", "연차 신청"),
        ("", ""),
    ],
)
def test_the_part_that_asks(question: str, asked: str) -> None:
    kept = asked_part(question)
    assert kept.removeprefix("Hi, ") == asked


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("TPM은 무엇인가요?", ["TPM"]),
        ("What is TPM?", ["TPM"]),
        ("Do we need GPUs?", ["GPUs"]),
        ("WHAT IS THE DEFAULT PORT?", []),
        ("Kubernetes에서 배포하려면?", ["Kubernetes"]),
        ("엔비디아의 매출은 얼마인가요?", ["엔비디아"]),
        ("삼성전자 주가는?", ["삼성전자"]),
        ("팔란티어는 무엇인가요?", ["팔란티어"]),
        ("챗지피티를 써도 되나요?", ["챗지피티"]),
        ("김철수 대리의 자리는 어디인가요?", ["김철수"]),
        ("엔비디아 GPU는 몇 장 필요한가요?", ["GPU", "엔비디아"]),
        ("엔비디아 주가", ["엔비디아"]),
        ("엔비디아?", ["엔비디아"]),
        ("애플 컴퓨터에서 온 문서를 찾으려면?", []),
        ("개인정보를 마스킹하는 이유는?", []),
        ("연차는 며칠인가요?", []),
        ("I'm Jake from NVIDIA. How long do keys live?", []),
        ("제 이름은 Jake인데, 연차는 며칠인가요?", []),
        ("저는 테슬라에서 왔습니다. 연차는 며칠인가요?", []),
    ],
)
def test_names_are_what_the_question_asks_about(question: str, names: list[str]) -> None:
    assert names_in(question) == names


VOCABULARY = ["kubernetes", "docker", "rollback", "postmortem", "masking", "input", "need", "note", "연차"]


@pytest.mark.parametrize("word", ["쿠버네티스", "롤백", "포스트모템", "마스킹"])
def test_a_loanword_is_known_by_its_sound(word: str) -> None:
    assert is_known_loanword(word, VOCABULARY)


@pytest.mark.parametrize("word", ["엔비디아", "팔란티어", "테슬라", "삼성전자", "노드", "TPM"])
def test_another_name_is_not(word: str) -> None:
    assert not is_known_loanword(word, VOCABULARY)


def test_sounds() -> None:
    assert (korean_sounds("도커"), korean_sounds("엔비디아"), korean_sounds("GPU")) == ("tVkV", "VnpVtV", "")
