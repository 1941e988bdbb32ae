"""Claims about manuals and rules that had no part in writing the proof, by what is wrong in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantserve.rag.claims import Prover, read

CHARGED = "The customer is charged 5 dollars."
NOTIFY = "You must notify us within 30 days."
ITEMS = "The warranty does not cover:\n- water damage\n- theft\n"
ITEMS_KO = "보증하지 않는 것:\n- 물에 의한 손상\n- 도난\n"

FALSE = {
    "who speaks to whom": [
        (NOTIFY, "Who must notify whom?", "We must notify you within 30 days."),
        ("We pay you 50 dollars.", "Who pays?", "You pay us 50 dollars."),
        ("You must return our equipment.", "What must be returned?", "You must return your equipment."),
        ("She trains him every Monday.", "Who trains?", "He trains her every Monday."),
        ("It sends them a token.", "What happens?", "They send it a token."),
        ("그는 그녀에게 보고한다.", "누가 보고하나요?", "그녀는 그에게 보고합니다."),
        ("우리는 당신에게 지급한다.", "누가 지급하나요?", "당신은 우리에게 지급합니다."),
    ],
    "a preposition that governs no noun": [
        ("Except on Sundays, parking is free.", "When is parking free?", "Parking is free on Sundays."),
        ("Power must be off before cleaning.", "When?", "Power must be on before cleaning."),
        ("Turn the pump off.", "What must be done?", "Turn the pump on."),
        ("The lamp is on.", "How is the lamp?", "The lamp is off."),
        ("The fee is paid to us.", "Who is paid?", "The fee is paid by us."),
        ("문서를 저에게 보낸다.", "무엇을 보내나요?", "문서를 저에게서 보낸다."),
    ],
    "voice": [
        (CHARGED, "Who is charged?", "The customer charges 5 dollars."),
        (CHARGED, "Who is charged?", "The customer is charging 5 dollars."),
        ("The supplier charges 5 dollars.", "Who pays?", "The supplier is charged 5 dollars."),
        ("Employees are paid on the 25th.", "When?", "Employees pay on the 25th."),
        ("A charging battery must not be moved.", "What?", "A charged battery must not be moved."),
    ],
    "time": [
        ("The service was free.", "How much is the service?", "The service is free."),
        ("The service was free.", "How much is the service?", "Free."),
        ("The library had 5 rooms.", "How many rooms are there?", "The library has 5 rooms."),
        ("The price increased in May.", "When?", "The price increases in May."),
        ("수수료는 무료였다.", "수수료는 얼마인가요?", "수수료는 무료입니다."),
        ("내년에 폐관하겠다.", "폐관하나요?", "내년에 폐관했습니다."),
    ],
    "a negation that was lost": [
        ("The lid does not, however, lock.", "Does it lock?", "The lid does, however, lock."),
        ("Members pay 5 dollars.", "Is it free?", "No, members pay 5 dollars."),
        ("Non-members pay 10 dollars.", "How much do non-members pay?", "Members pay 10 dollars."),
        ("비용은 회사가 부담하지 아니한다.", "누가 부담하나요?", "비용은 회사가 부담합니다."),
        ("비용은 회사가 부담한다.", "누가 부담하나요?", "비용은 회사가 부담하지 아니합니다."),
        ("Ex-tenants keep a key.", "Do ex-tenants keep a key or a card?", "Tenants keep a key."),
        ("A few members vote.", "Do members vote?", "Few members vote."),
    ],
    "half of a range": [
        ("The fee is 5–10 dollars.", "What is the fee?", "10 dollars."),
        ("The fee is 5–10 dollars.", "What is the fee?", "The fee is 5."),
        ("Delivery takes 3 – 5 days.", "How long?", "5 days."),
        ("The library opens 9 am – 5 pm.", "When does the library open?", "5 pm."),
        ("배송은 3~5일 걸린다.", "얼마나 걸리나요?", "배송은 5일 걸립니다."),
    ],
    "a raised figure, a fraction": [
        ("It handles 10⁶ packets.", "How many?", "It handles 106 packets."),
        ("The area is 10² metres.", "How large?", "The area is 102 metres."),
        ("Wait 1½ hours.", "How long?", "Wait 11 hours."),
        ("Wait ½ hour.", "How long?", "Wait 1 2 hours."),
        ("10⁶개를 처리한다.", "몇 개인가요?", "106개를 처리합니다."),
    ],
    "a unit told by its capitals": [
        ("The link runs at 10 Gb/s.", "How fast?", "The link runs at 10 GB/s."),
        ("The fan draws 5 mW.", "How much?", "The fan draws 5 MW."),
        ("링크 속도는 10Gb/s이다.", "속도는?", "링크 속도는 10GB/s입니다."),
    ],
    "two facts made one": [
        ("Adults pay $5, children pay $2.", "If adults pay $5, what do children pay?", "Adults pay $2."),
        ("Adults pay $5; children pay $2.", "If adults pay $5, what do children pay?", "Adults pay $2."),
        ("Ann runs sales and Bob runs support.", "If Ann runs sales and Bob runs?", "Ann runs support."),
        (
            "성인은 5권을 빌리고 어린이는 3권을 빌린다.",
            "성인은 5권을 빌리고 어린이는 몇 권을 빌리나요?",
            "성인은 3권을 빌립니다.",
        ),
    ],
    "an item of a list without what governs it": [
        ("It does not cover fire, water, and theft.", "What does it cover?", "Theft."),
        ("Forbidden are dogs; cats; birds.", "Which animals are allowed?", "Cats."),
        (ITEMS, "What does the warranty cover?", "Theft."),
        (ITEMS, "What does the warranty cover?", "- water damage"),
        ("Forbidden:\n\n1. Dogs\n2. Cats\n", "Which animals are allowed?", "Dogs."),
        (ITEMS_KO, "무엇을 보증하나요?", "도난입니다."),
        ("Guests may not swim, and may use the gym.", "What may staff use?", "They may use the gym."),
    ],
    "a question in the passage": [
        ("The fee is 5 dollars.", "What is it?", "Is the fee 5 dollars?"),
        ("Do you have to pay? No.", "What about the fee?", "You have to pay."),
        ("Can opened goods be returned?\nNo.", "Opened goods?", "Opened goods can be returned."),
        ("개봉한 상품도 환불할 수 있나요?\n아니요.", "개봉했다면?", "개봉한 상품도 환불할 수 있습니다."),
    ],
}

TRUE = [
    (NOTIFY, "How soon must I notify you?", "You must notify us within thirty days."),
    (CHARGED, "How much is the customer charged?", "5 dollars."),
    ("Turn the pump off.", "What must be done?", "Turn the pump off."),
    ("The fee is paid to us yearly.", "When?", "The fee is paid to us yearly."),
    ("Books are kept in the cellar.", "Where are books kept?", "Kept in the cellar."),
    ("Books are kept in the cellar.", "Where are books kept?", "They are kept in the cellar."),
    ("The fee was 5 dollars.", "What was the fee?", "5 dollars."),
    ("Delivery takes 3–5 days.", "How long does delivery take?", "3-5 days."),
    ("It handles 10⁶ packets.", "How many?", "It handles 10^6 packets."),
    ("Wait 1½ hours.", "How long?", "Wait 1 1/2 hours."),
    ("The link runs at 10 Gb/s.", "How fast?", "The link runs at 10 Gb/s."),
    ("Adults pay $5, children pay $2.", "If adults pay $5, what do children pay?", "Children pay $2."),
    ("In July, adults pay $5.", "What do adults pay in July?", "Adults pay $5."),
    ("Ann leads sales; Bob leads the support team.", "Who leads sales?", "Ann leads sales."),
    (ITEMS, "What does the warranty not cover?", "- theft"),
    (ITEMS_KO, "보증하지 않는 것은 무엇인가요?", "도난입니다."),
    ("Steps:\n- The lid must be closed first.\n", "What first?", "The lid must be closed first."),
    ("비용은 회사가 부담하지 아니한다.", "누가 부담하나요?", "비용은 회사가 부담하지 않습니다."),
    ("수수료는 무료였다.", "수수료는 얼마였나요?", "수수료는 무료였습니다."),
]


@pytest.mark.parametrize(
    ("passage", "question", "claim"),
    [pytest.param(*case, id=f"{kind}: {case[2]}") for kind, cases in FALSE.items() for case in cases],
)
def test_what_the_passage_does_not_say_is_not_proved(passage: str, question: str, claim: str) -> None:
    assert Prover([question], [passage]).proofs(claim) == ()


@pytest.mark.parametrize(("passage", "question", "claim"), TRUE, ids=[case[2] for case in TRUE])
def test_what_the_passage_says_is_proved(passage: str, question: str, claim: str) -> None:
    assert Prover([question], [passage]).proofs(claim) == (1,)


PERSONS = st.permutations([("I", "me"), ("we", "us"), ("you", "you"), ("he", "him"), ("she", "her")])


@settings(deadline=None)
@given(PERSONS, st.integers(2, 99))
def test_whoever_pays_whom_is_not_turned_round(persons: list[tuple[str, str]], days: int) -> None:
    one, other = persons[:2]
    source = f"{one[0]} must pay {other[1]} within {days} days."
    assert Prover(["Who pays?"], [source]).proofs(source) == (1,)
    turned = f"{other[0]} must pay {one[1]} within {days} days."
    assert Prover(["Who pays?"], [source]).proofs(turned) == ()


@given(st.integers(1, 99), st.sampled_from("⁰¹²³⁴⁵⁶⁷⁸⁹½¼¾⅓①②⑩"))
def test_no_other_figure_grows_into_a_number(number: int, figure: str) -> None:
    forms = [unit.form for unit in read(f"It takes {number}{figure} days.").units]
    assert all(not form.isdigit() or form == str(number) or len(form) <= 2 for form in forms)
    assert read(f"It takes {number}{figure} days.") != read(f"It takes {number} days.")


@pytest.mark.parametrize(
    ("passage", "question", "claim", "proved"),
    [
        ("The fine is over 300 dollars.", "What is the fine?", "300 dollars.", False),
        ("The fee is below 300 dollars.", "What is the fee?", "It is 300 dollars.", False),
        ("The fine is 300 dollars.", "What is the fine?", "300 dollars.", True),
        ("About 300 guests attended.", "How many guests attended?", "300 guests attended.", False),
        ("The office opens after 9 am.", "When does the office open?", "9 am.", False),
        ("The office opens at 9 am.", "When does the office open?", "9 am.", True),
        ("The contract ends before 1 March.", "When does the contract end?", "1 March.", False),
        ("The key is under the box.", "Where is the key?", "The box.", False),
        ("The key is in the box.", "Where is the key?", "The box.", True),
        ("The rule applies except in Ohio.", "Where does the rule apply?", "Ohio.", False),
        ("The rule applies in Ohio.", "Where does the rule apply?", "Ohio.", True),
        ("Ann voted against Bob.", "Who did Ann vote for?", "Bob.", False),
        ("Ann voted for Bob.", "Who did Ann vote for?", "Bob.", True),
        ("Ann works for Bob.", "Who does Ann work against?", "Bob.", False),
        ("The letter was sent from Bonn.", "Where was the letter sent?", "Bonn.", False),
        ("The letter was sent from Bonn.", "Where was the letter sent from?", "Bonn.", True),
        ("책은 철수에게 보낸다.", "책은 누가 보내나요?", "철수입니다.", False),
        ("책은 철수가 보낸다.", "책은 누가 보내나요?", "철수입니다.", True),
        ("사무실은 9시부터 연다.", "사무실은 언제 여나요?", "9시입니다.", False),
        ("상은 영희에게서 받았다.", "상은 누가 받았나요?", "영희입니다.", False),
    ],
)
def test_a_bare_answer_loses_no_limit(passage: str, question: str, claim: str, proved: bool) -> None:
    assert bool(Prover([question], [passage]).proofs(claim)) == proved


@pytest.mark.parametrize(
    ("said", "claimed"),
    [
        ("회사는 서비스를 종료하려고 한다", "회사는 서비스를 종료한다"),
        ("회사는 서비스를 종료하려 한다", "회사는 서비스를 종료한다"),
        ("회사는 파일을 지우고자 한다", "회사는 파일을 지운다"),
        ("회사는 파일을 지울까 한다", "회사는 파일을 지운다"),
        ("회사는 직원을 해고하게 했다", "회사는 직원을 해고했다"),
        ("회사는 교육을 받게 한다", "회사는 교육을 받는다"),
        ("문은 안전하다고 한다", "문은 안전하다"),
        ("회사는 문을 닫았다고 한다", "회사는 문을 닫았다"),
        ("회사는 파일을 지우라고 한다", "회사는 파일을 지운다"),
        ("회사는 파일을 지우나 보다", "회사는 파일을 지운다"),
        ("회사는 식당을 운영했었다", "회사는 식당을 운영한다"),
        ("회사는 식당을 운영하더라", "회사는 식당을 운영한다"),
        ("회사는 집을 팔아 주었다", "회사는 집을 팔았다"),
        ("회사는 영희에게 책을 빌렸다", "회사는 영희에게 책을 빌려주었다"),
        ("회사는 땅을 빌려준다", "회사는 땅을 빌린다"),
    ],
)
def test_an_auxiliary_is_no_ornament(said: str, claimed: str) -> None:
    for question in ("회사는 무엇을 하나요?", "회사는 무엇을 했나요?", "문은 어떤가요?"):
        assert not Prover([question], [f"{said}."]).proofs(f"{claimed}.")
        assert Prover([question], [f"{said}."]).proofs(f"{said}.")
