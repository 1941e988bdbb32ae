"""A sentence is proved by a passage or not: no number, name, unit, negation or order comes from elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantserve.rag.claims import Prover, read
from quantserve.rag.claims.proof import whole_sentences

DATA = Path(__file__).parents[2] / "data" / "rag"

PASSAGES = [
    "Debian 12 was released on 10 June 2023. The official DVD set consists of 7 discs. "
    "The price is not fixed.",
    "The stable release gets security updates for three years; the LTS team continues for two more years.",
    "apt-get update downloads the package lists, but it does not install anything. "
    "If the disk is full, the upgrade stops.",
    "Files larger than 2 GB must not be stored on FAT32. At least 512 MB of memory is required.",
    "The temperature rises before the alarm sounds. Python 3.11 is faster than Python 3.10.",
    "Alice manages Bob. The master key opens every door except the vault. "
    "Backups run daily at 3 am, only on weekdays.",
    "요금은 월 5,000원이다. 환불은 14일 이내에만 가능하다. 관리자만 계정을 삭제할 수 있다.",
    "김 대리가 박 과장에게 보고한다. 재고가 10개 미만이면 주문한다. 2호기가 1호기보다 빠르다. "
    "야간에는 출입을 금지한다.",
    "서버는 부팅 전에 점검한다. 온도가 오르면 팬이 빨라진다. 이 기능은 더 이상 지원하지 않는다.",
]

INVENTED = {
    "number": [
        ("How much is the DVD set?", "The official DVD set costs $10."),
        ("How many discs are in the DVD set?", "The official DVD set consists of 8 discs."),
        ("When was Debian 12 released?", "Debian 12 was released on 11 June 2023."),
        ("How long?", "The stable release gets security updates for five years."),
        ("How long does the LTS team continue?", "The LTS team continues for three more years."),
        ("요금은 얼마인가요?", "요금은 월 6,000원입니다."),
        ("요금은 얼마인가요?", "요금은 월 오천이백 원입니다."),
        ("환불은?", "환불은 열흘 이내에만 가능합니다."),
    ],
    "unit": [
        ("How long?", "The stable release gets security updates for three months."),
        ("How big?", "Files larger than 2 MB must not be stored on FAT32."),
        ("How much memory is required?", "At least 512 GB of memory is required."),
        ("When do backups run?", "Backups run daily at 3 pm, only on weekdays."),
        ("요금은 얼마인가요?", "요금은 월 5,000달러입니다."),
        ("요금은 얼마인가요?", "요금은 연 5,000원입니다."),
        ("환불은?", "환불은 14주 이내에만 가능합니다."),
    ],
    "name": [
        ("When was Ubuntu released?", "Ubuntu was released on 10 June 2023."),
        ("When was Debian 11 released?", "Debian 11 was released on 10 June 2023."),
        ("When was Debian 12 released?", "Debian 12 was released on 10 July 2023."),
        ("Who manages Bob?", "Carol manages Bob."),
        ("What is TPM?", "TPM gets security updates for three years."),
        ("누가 보고하나요?", "최 대리가 박 과장에게 보고합니다."),
        ("어느 것이 빠른가요?", "3호기가 1호기보다 빠릅니다."),
    ],
    "negation": [
        ("Is the price fixed?", "The price is fixed."),
        ("Where are large files stored?", "Files larger than 2 GB must be stored on FAT32."),
        ("What does apt-get update do?", "It does install anything."),
        ("What does apt-get update do?", "apt-get update does not download the package lists."),
        ("누가 삭제하나요?", "관리자만 계정을 삭제할 수 없습니다."),
        ("언제 주문하나요?", "재고가 10개 미만이면 주문하지 않습니다."),
        ("들어가도 되나요?", "야간에는 출입을 금지하지 않습니다."),
        ("지원하나요?", "이 기능은 더 이상 지원합니다."),
        ("지원하나요?", "이 기능은 지원합니다."),
    ],
    "comparison": [
        ("How big?", "Files smaller than 2 GB must not be stored on FAT32."),
        ("How much memory is required?", "At most 512 MB of memory is required."),
        ("How much memory?", "512 MB of memory is required."),
        ("Which is faster?", "Python 3.11 is slower than Python 3.10."),
        ("What happens?", "The temperature rises after the alarm sounds."),
        ("What happens?", "The temperature falls before the alarm sounds."),
        ("언제 주문하나요?", "재고가 10개 이상이면 주문합니다."),
        ("환불은?", "환불은 14일 이후에만 가능합니다."),
        ("어느 것이 빠른가요?", "2호기가 1호기보다 느립니다."),
        ("언제 점검하나요?", "서버는 부팅 후에 점검합니다."),
    ],
    "reversal": [
        ("Which is faster?", "Python 3.10 is faster than Python 3.11."),
        ("Who manages whom?", "Bob manages Alice."),
        ("Who manages whom?", "Alice is managed by Bob."),
        ("What happens first?", "The alarm sounds before the temperature rises."),
        ("누가 보고하나요?", "박 과장이 김 대리에게 보고합니다."),
        ("어느 것이 빠른가요?", "1호기가 2호기보다 빠릅니다."),
        ("팬은?", "팬이 빨라지면 온도가 오릅니다."),
        ("Whom does Bob manage?", "Alice."),
    ],
    "left out": [
        ("When does the upgrade stop?", "The upgrade stops."),
        ("What does the master key open?", "The master key opens every door."),
        ("When do backups run?", "Backups run daily at 3 am."),
        ("Where are the spare keys kept?", "On FAT32."),
        ("누가 삭제하나요?", "계정을 삭제할 수 있습니다."),
        ("출입은 언제 금지하나요?", "출입을 금지합니다."),
    ],
    "echo": [
        ("How many discs are in the official DVD set?", "The official DVD set has discs."),
        ("Does the official DVD set consist of 7 discs?", "The official DVD set consists of 7 discs."),
        ("Is the price not fixed?", "The price is not fixed."),
        ("관리자만 계정을 삭제할 수 있나요?", "관리자만 계정을 삭제할 수 있습니다."),
        ("요금은 얼마인가요?", "요금입니다."),
        ("Why?", "..."),
        ("Why does compress() return Z_BUF_ERROR?", "4. compress() returns Z_BUF_ERROR."),
    ],
}

PROVED = [
    ("How many discs are in the DVD set?", "The official DVD set consists of seven discs.", 1),
    ("When was Debian 12 released?", "Debian 12 was released on 10 June 2023.", 1),
    ("Is the price fixed?", "The price isn't fixed.", 1),
    ("How long does the stable release get security updates?", "For three years.", 2),
    ("How long does the stable release get security updates?", "3 years.", 2),
    ("How long does the LTS team continue?", "The LTS team continues for two more years.", 2),
    ("What happens if the disk is full?", "The upgrade stops.", 3),
    ("Where can big files be stored?", "Files larger than 2GB mustn't be stored on FAT32.", 4),
    ("Who manages Bob?", "Alice manages Bob.", 6),
    ("Who manages Bob?", "Alice.", 6),
    ("Whom does Alice manage?", "She manages Bob.", 6),
    ("요금은 얼마인가요?", "요금은 월 5000원입니다.", 7),
    ("요금은 얼마인가요?", "요금은 월 오천 원입니다.", 7),
    ("환불은 언제까지?", "환불은 14일 이내에만 가능합니다.", 7),
    ("누가 계정을 삭제할 수 있나요?", "관리자만 계정을 삭제할 수 있습니다.", 7),
    ("누가 보고하나요?", "박 과장에게 김 대리가 보고합니다.", 8),
    ("언제 주문하나요?", "재고가 10개 미만이면 주문합니다.", 8),
    ("지원하나요?", "이 기능은 더 이상 지원하지 않습니다.", 9),
]


@pytest.mark.parametrize(
    ("question", "claim"),
    [pytest.param(*case, id=f"{kind}: {case[1]}") for kind, cases in INVENTED.items() for case in cases],
)
def test_what_no_passage_says_is_not_proved(question: str, claim: str) -> None:
    assert Prover([question], PASSAGES).proofs(claim) == ()


@pytest.mark.parametrize(("question", "claim", "number"), PROVED, ids=[case[1] for case in PROVED])
def test_what_a_passage_says_is_proved_by_that_passage(question: str, claim: str, number: int) -> None:
    assert Prover([question], PASSAGES).proofs(claim) == (number,)


@pytest.mark.parametrize("sentence", [one for text in PASSAGES for one in whole_sentences(text)])
def test_a_sentence_of_a_passage_proves_itself(sentence: str) -> None:
    assert Prover(["What is said?"], PASSAGES).proofs(sentence)


NAMES = st.sampled_from(["Alice", "Bob", "Carol", "Quantor", "TPM", "엔비디아", "김철수", "서버", "백업"])
NUMBERS = st.integers(2, 99_999)
UNITS = st.sampled_from(
    [("seconds", "초"), ("days", "일"), ("GB", "GB"), ("percent", "퍼센트"), ("people", "명")]
)
LANGUAGES = st.sampled_from(["en", "ko"])


def said(
    language: str, who: str, whom: str, number: int, unit: tuple[str, str], *, negated: bool = False
) -> str:
    if language == "en":
        return f"{who} {'does not need' if negated else 'needs'} {number} {unit[0]} more than {whom}."
    return f"{who} 팀이 {whom} 팀보다 {number}{unit[1]} {'더 쓰지 않는다' if negated else '더 쓴다'}."


@settings(deadline=None)
@given(LANGUAGES, NAMES, NAMES, NUMBERS, NUMBERS, UNITS, UNITS)
def test_whatever_is_changed_in_a_sentence_its_proof_is_gone(
    language: str,
    who: str,
    whom: str,
    number: int,
    other: int,
    unit: tuple[str, str],
    another: tuple[str, str],
) -> None:
    source = said(language, who, whom, number, unit)
    prover = Prover(["Who needs what?"], [source])
    assert prover.proofs(source) == (1,)
    assert not prover.proofs(said(language, who, whom, number, unit, negated=True))
    assert not Prover(["?"], [said(language, who, whom, number, unit, negated=True)]).proofs(source)
    if other != number:
        assert not prover.proofs(said(language, who, whom, other, unit))
    if another != unit:
        assert not prover.proofs(said(language, who, whom, number, another))
    if who != whom:
        assert not prover.proofs(said(language, whom, who, number, unit))


@settings(deadline=None)
@given(NUMBERS)
def test_a_question_never_supports_what_is_claimed(number: int) -> None:
    question = f"Is it true that the DVD set costs {number} dollars in 2031?"
    claim = f"The DVD set costs {number} dollars, as announced in 2031."
    assert not Prover([question], PASSAGES).proofs(claim)


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_thousands_may_be_separated(number: int) -> None:
    assert read(f"{number:,} bytes").units == read(f"{number} bytes").units


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("one hundred and twenty-five files", "125 files"),
        ("two thousand five hundred files", "2,500 files"),
        ("3 million rows", "3,000,000 rows"),
        ("$5", "5 dollars"),
        ("30 %", "30 percent"),
        ("5GB", "5 GB"),
        ("a 180-day key", "a 180 day key"),
        ("It can't start", "It cannot start"),
        ("3만 5천 원", "35,000원"),
        ("1억 5천만 원", "150,000,000원"),
        ("삼십 분", "30분"),
        ("스물다섯 명", "25명"),
        ("사흘", "3일"),
        ("30퍼센트", "30%"),
    ],
)
def test_spellings_of_one_number_are_read_alike(one: str, other: str) -> None:
    assert read(one).units == read(other).units


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("version 3.10", "version 3.1"),
        ("1.5 GB", "15 GB"),
        ("-5 degrees", "5 degrees"),
        ("127.0.0.1:8001", "127.0.0.1:8000"),
        ("2026-014", "2026-021"),
        ("3rd", "3"),
        ("$5", "€5"),
        ("30 %", "30"),
        ("5천 원", "5만 원"),
        ("사흘", "나흘"),
    ],
)
def test_other_numbers_are_read_as_others(one: str, other: str) -> None:
    assert read(one).units != read(other).units


def test_lines_that_were_wrapped_are_one_sentence() -> None:
    text = (
        "The lamp may be lit by visitors who have asked\nthe keeper, but never during a storm.\n"
        "- An item\n- Another one"
    )
    faq = (
        "1. Can it?\n\n    Not by itself, no.  See the directory of contributions in the\n    distribution.\n"
    )
    assert whole_sentences(faq)[1:] == [
        "Not by itself, no.",
        "See the directory of contributions in the distribution.",
    ]
    assert whole_sentences(text) == [
        "The lamp may be lit by visitors who have asked the keeper, but never during a storm.",
        "- An item",
        "- Another one",
    ]
    assert not Prover(["Who?"], [text]).proofs("The lamp may be lit by visitors who have asked.")


def foreign(name: str) -> list[Any]:
    """Return claims about texts that had no part in writing the rules: Python's own help."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [pytest.param(case, id=f"{case['topic']}: {case['claim']}") for case in map(json.loads, lines)]


@pytest.mark.parametrize("case", [*foreign("foreign_claims.jsonl"), *foreign("foreign_claims_locked.jsonl")])
def test_claims_about_texts_of_others(case: dict[str, Any]) -> None:
    """No invented claim is proved. Where a true one is not, it is quoted instead: the safe side."""
    proofs = Prover([case["question"]], [topics[case["topic"]]]).proofs(case["claim"])
    assert bool(proofs) is case["proved"]


@pytest.mark.parametrize(
    "piece",
    ["1", "1,", "111,", "9만 ", "-", "a.", "a ", "[1]", "가", '!"', "not ", "엔비디아", "A.", "one ", "\n"],
)
def test_long_texts_are_read_in_steps_that_grow_with_their_length(piece: str) -> None:
    """Lines executed are counted, not seconds: twice the text takes little more than twice the steps."""

    def steps(length: int) -> int:
        text = (piece * (length // len(piece)) + "x")[:length]
        counted = 0

        def count(*_: Any) -> Any:
            nonlocal counted
            counted += 1
            return count

        read.cache_clear()
        sys.settrace(count)
        try:
            Prover([text], [text]).proofs(text)
        finally:
            sys.settrace(None)
        return counted

    steps(200)  # loads the analyser
    assert steps(4000) <= 2.5 * steps(2000) + 500
