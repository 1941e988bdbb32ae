"""Take a Korean question apart, by its morphemes (kiwipiepy's tags, which are Sejong's)."""

from __future__ import annotations

from collections.abc import Sequence

from quantserve.rag.cache.meaning import NUMBER, Meaning, number_of
from quantserve.rag.store.korean import kiwi

_ASKED = {
    "무엇": "what", "뭐": "what", "뭣": "what", "무어": "what", "무슨": "what", "어떤": "what",
    "어느": "what",
    "누구": "who", "누": "who", "언제": "when", "어디": "where", "왜": "why", "어떻": "how", "어떻게": "how",
    "어떠하": "how", "어찌": "how", "몇": "many", "얼마": "much", "얼마나": "much", "방법": "how",
    "이유": "why", "까닭": "why",
}  # fmt: skip
_NUMERALS = {
    "하나": "1", "한": "1", "둘": "2", "두": "2", "셋": "3", "세": "3", "석": "3", "서": "3", "넷": "4",
    "네": "4", "넉": "4", "다섯": "5", "여섯": "6", "일곱": "7", "여덟": "8", "아홉": "9", "열": "10",
    "스물": "20", "스무": "20", "첫": "1.", "첫째": "1.", "둘째": "2.", "셋째": "3.", "일": "1", "이": "2",
    "삼": "3", "사": "4", "오": "5", "육": "6", "칠": "7", "팔": "8", "구": "9", "십": "10", "백": "100",
    "천": "1000", "만": "10000", "억": "100000000",
}  # fmt: skip
_ALSO_OTHER_WORDS = frozenset({"일", "이", "사", "오", "만", "서", "구"})
"""Numerals that are determiners or adverbs, too ("this", "only")."""
_EMPTY = frozenset(
    {"하", "되", "있", "이", "것", "거", "건", "수", "좀", "혹시", "정확히", "그럼", "우리", "저", "나", "때"}
)
_REQUESTS = frozenset({"알리", "가르치", "설명", "말씀", "궁금", "알"})
_SPEAKS = ("NN", "NR", "NP", "VV", "VA", "XR", "MAG", "MM", "SL", "SH", "XPN", "XSN", "SW")
_NAMES = ("NN", "SL", "SN", "XPN", "XSN", "SH")
_ROLES = {
    "이": "subject", "가": "subject", "께서": "subject", "을": "object", "를": "object", "ᆯ": "object",
    "에서": "from", "에게서": "from", "한테서": "from", "에게": "to", "한테": "to", "께": "to", "로": "to",
    "으로": "to", "보다": "than",
}  # fmt: skip
_LIMITS = frozenset({"만", "밖에", "마다", "부터", "까지", "도", "보다", "뿐"})
"""Particles that change what is asked wherever they stand."""
_AUXILIARIES = frozenset(
    {
        "있",
        "주",
        "드리",
        "보",
        "하",
        "지",
        "버리",
        "놓",
        "두",
        "나",
        "내",
        "싶",
        "오",
        "가",
        "되",
        "않",
        "말",
        "못하",
        "대",
    }
)
_VOICE = frozenset({"받", "당하", "시키"})


def korean_meaning(question: str) -> Meaning:
    """Take a question apart; every morpheme that means something counts, and what its particle makes it."""
    words: list[str] = []
    asked: set[str] = set()
    manner: set[str] = set()
    roles: dict[str, str] = {}
    numbers = [number_of(match[0]) for match in NUMBER.finditer(question)]
    negation = ""
    requested = False
    phrase: list[str] = []
    """The nouns right before this morpheme: a particle gives them their role together."""
    tokens = [(token.form, token.tag.partition("-")[0]) for token in kiwi().tokenize(question)]
    for index, (form, tag) in enumerate(tokens):
        if tag[0] == "J":
            if form in _LIMITS:
                words.append(f"~{form}")
            if form in _ROLES and phrase:
                roles[" ".join(phrase)] = _ROLES[form]
        if tag.startswith(_NAMES) and form not in _ASKED:
            phrase.append(form.lower())
        else:
            phrase = []
        if form in _ASKED and tag[0] not in "JE":
            asked.add(_ASKED[form])
        elif form == "며칠":
            asked.add("many")
            words.append("일")
        elif form == "법" and tag in ("NNB", "NNG"):
            asked.add("how")
        elif _is_numeral(form, tag):
            numbers.append(_NUMERALS[form])
            words.append("#")
        elif tag == "MAG" and form in ("안", "못"):
            negation = form
        elif negation and tag in ("VV", "VA", "VX", "XSV") and form in _EMPTY:
            words.append(f"{negation}:{form}")  # 하면 안 되나요
            negation = ""
        elif tag in ("VX", "VV", "VA") and form in ("않", "말", "못하") and words:
            words[-1] = f"{'못' if form == '못하' else '안'}:{words[-1]}"
        elif tag == "VCN":
            words.append("아니")
        elif form in _REQUESTS and _is_request(tokens[index + 1 :]):
            requested = True
        elif tag == "EP" and form in ("었", "았", "였", "겠"):
            manner.add("future" if form == "겠" else "past")
        elif tag == "EC" and form in ("어야", "아야", "여야"):
            manner.add("must")
        elif tag == "EC" and form in ("어도", "아도", "여도"):
            manner.add("may")
        elif form == "수" and tag == "NNB":
            manner.add("can")
        elif tag == "XSV" and form in _VOICE:
            words.append(form)
        elif tag == "SN":
            words.append("#")
        elif (tag.startswith(_SPEAKS) or _is_mistaken_verb(form, tag)) and form not in _EMPTY:
            word = form.lower()
            if negation and tag in ("VV", "VA", "VX", "NNG", "XR"):
                word, negation = f"{negation}:{word}", ""
            words.append(word)
    if negation:
        words.append(negation)
    if "how" in asked:
        manner -= {"can", "must"}  # 어떻게 하나요, 어떻게 할 수 있나요, 어떻게 해야 하나요
        asked.discard("what")  # 방법은 무엇인가요
    if "why" in asked:
        asked.discard("what")
    if not asked and (requested or _ends_with_topic(tokens)):
        asked.add("what")
    return Meaning("ko", tuple(words), tuple(numbers), frozenset(asked), frozenset(manner), roles)


def _is_numeral(form: str, tag: str) -> bool:
    if tag == "NR":
        return form in _NUMERALS
    return tag in ("MM", "MAG") and form in _NUMERALS and form not in _ALSO_OTHER_WORDS


def _is_mistaken_verb(form: str, tag: str) -> bool:
    """Whether the analyser took a verb of its own for an auxiliary (만들다 behind a noun)."""
    return tag == "VX" and form not in _AUXILIARIES


def _is_request(behind: Sequence[tuple[str, str]]) -> bool:
    """Whether a verb of telling is followed by 주 (알려 주세요, 설명해 줘): the reader is asked to tell."""
    return any(form in ("주", "드리") and tag in ("VX", "VV") for form, tag in behind[:3])


def _ends_with_topic(tokens: Sequence[tuple[str, str]]) -> bool:
    """Whether a question ends with its topic ("기본 포트는?"), which asks what it is."""
    said = [token for token in tokens if token[1][0] != "S"]
    return bool(said) and said[-1][1] == "JX" and said[-1][0] in ("은", "는", "ᆫ")
