"""Read a Korean sentence by its morphemes: particles give the roles, endings and auxiliaries the polarity."""

from __future__ import annotations

from dataclasses import replace

from quantserve.rag.claims.english import stem
from quantserve.rag.claims.numbers import DAYS, UNITS, is_symbol, korean_number, korean_scaled, plain_numbers
from quantserve.rag.claims.reading import PAST, Reading, Unit
from quantserve.rag.store.korean import kiwi

_SUBJECT, _TOPIC = "subject", "topic"
_ROLES = {"JKS": _SUBJECT, "JKC": _SUBJECT, "JKO": "object", "JKG": "of"}
_TOPIC_PARTICLES = frozenset({"은", "는", "ᆫ"})
_JOINS = frozenset({"와", "과", "랑", "하고", "이랑"})
_BINDS = {
    "면": "if", "으면": "if", "려면": "if", "으려면": "if", "거나": "or", "든지": "or", "어야": "must",
    "아야": "must", "여야": "must", "어도": "even", "아도": "even", "여도": "even", "지만": "but",
    "도록": "that", "게": "so", "려고": "intend", "으려고": "intend", "려": "intend", "으려": "intend",
    "고자": "intend", "ᆯ까": "intend", "을까": "intend", "다고": "said", "ᆫ다고": "said", "는다고": "said",
    "라고": "told", "으라고": "told", "자고": "told", "냐고": "said",
}  # fmt: skip
"""Endings that say how clauses belong together; the others only join or end them."""
_NEGATES = frozenset({"않", "못하", "말", "아니하"})
_TENSES = {
    "었": PAST, "았": PAST, "였": PAST, "었었": PAST, "았었": PAST, "였었": PAST, "더": PAST, "더라": PAST,
    "겠": "will",
}  # fmt: skip
_VOICE = frozenset({"되", "당하", "받", "시키"})
_AUXILIARIES = {"싶": "싶", "주": "주", "드리": "주", "보": "보"}
"""Auxiliaries that change what is said: a wish, for whom it is done (lent is not borrowed), a guess."""
_POINTING = frozenset({"이", "그", "저", "그런", "이런", "저런"})
_ASKING_WORDS = "무엇 뭐 무어 누구 언제 어디 왜 어떻 어떠하 어떤 어느 무슨 몇 며칠 얼마"
_ASKING = frozenset(_ASKING_WORDS.split())
_NOUNS = ("NN", "NR", "SL", "SN", "SH", "XR", "W_")


def read_korean(sentence: str) -> Reading:
    """Take a sentence apart; the nouns before a particle share the role that it gives."""
    text = korean_scaled(plain_numbers(sentence))
    units: list[Unit] = []
    run: list[int] = []
    """The nouns right before this morpheme."""
    told: list[int] = []
    """The nouns that the particle before this morpheme gave their role."""
    edges: list[int] = []
    persons: list[str] = []
    is_person = False
    asks, is_negated, is_finite, prefix = False, False, False, ""
    for form, tag in _morphemes(text):
        asks = asks or (form in _ASKING and tag[0] not in "JE")
        if tag[0] == "J":
            role = _role(form, tag)
            for index in run or told:
                units[index] = replace(units[index], role=f"{'' if run else units[index].role}{role}")
            if is_person:
                persons[-1] = f"{_SUBJECT if role == _TOPIC else role} {persons[-1]}"
            told, run, is_person = run or told, [], False
            continue
        told, is_person = [], tag == "NP" and form not in _ASKING
        if tag in ("EC", "SP", "MAJ"):
            edges.append(len(units))
        is_finite = is_finite or tag == "EF"
        if tag == "XPN":
            prefix = form
        elif is_person:
            persons.append(form)
        elif (tag == "EP" or (tag == "EF" and form in _TENSES)) and units:
            units[-1] = replace(units[-1], auxiliary=_TENSES.get(form, units[-1].auxiliary))
        elif tag == "XSN":
            if units and form not in ("들", "님"):
                units[-1] = replace(units[-1], form=units[-1].form + form)
        elif tag.startswith(_NOUNS) or tag == "MM":
            if tag == "MM" and form in _POINTING:
                continue
            for unit in _nouns(prefix + form, tag):
                if tag == "SL" and units and units[-1].is_number and is_symbol(form):
                    unit = replace(unit, form=form)
                run.append(len(units))
                units.append(unit)
            prefix = ""
        elif tag == "SW" or form in UNITS:
            run.append(len(units))
            units.append(Unit(UNITS.get(form, form)))
        elif tag in ("XSV", "XSA"):
            if units and form in _VOICE:
                units[-1] = replace(units[-1], form=units[-1].form + form)
            if units and is_negated:
                units[-1], is_negated = replace(units[-1], is_negated=True), False
            run = []
        elif tag == "VCN" or (tag in ("VX", "VV", "VA") and form in _NEGATES and units):
            if units:
                units[-1] = replace(units[-1], is_negated=not units[-1].is_negated)
            run = []
        elif tag in ("VV", "VA") or (tag == "VX" and form in _AUXILIARIES):
            units.append(Unit(_AUXILIARIES[form] if tag == "VX" else form, is_negated=is_negated))
            run, is_negated = [], False
        elif tag == "MAG":
            if form in ("안", "못", "아니"):
                is_negated = True
            else:
                units.append(Unit(form))
            run = []
        elif tag == "EC" and form in _BINDS:
            units.append(Unit(_BINDS[form]))
            run = []
        else:
            run = []
    return Reading(tuple(units), (), asks, tuple(edges), tuple(persons), is_finite)


def _morphemes(text: str) -> list[tuple[str, str]]:
    """Return (form, tag) of each morpheme; a numeral written in one (스물다섯) is one."""
    found: list[tuple[str, str]] = []
    end = -1
    for token in kiwi().tokenize(text):
        tag = token.tag.partition("-")[0]
        if tag == "NR" and token.start == end and found[-1][1] == "NR":
            found[-1] = (found[-1][0] + token.form, tag)
        else:
            found.append((token.form, tag))
        end = token.end
    return found


def _role(form: str, tag: str) -> str:
    if tag in _ROLES:
        return _ROLES[tag]
    if tag == "JX" and form in _TOPIC_PARTICLES:
        return _TOPIC
    return "with" if form in _JOINS else form


def _nouns(form: str, tag: str) -> list[Unit]:
    if form in DAYS:
        return [Unit(str(DAYS[form]), is_number=True), Unit("일")]
    if tag == "SN":
        return [Unit(form, is_number=True)]
    digits = korean_number(form) if tag in ("NR", "MM") else ""
    if digits:
        return [Unit(digits, is_number=True)]
    plain = form.lower()
    return [Unit(UNITS.get(plain, stem(plain) if plain.isascii() else plain))]
