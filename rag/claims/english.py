"""Read an English sentence. The lists are the language's closed classes: no new word ever joins them."""

from __future__ import annotations

import re
import unicodedata

from rag.claims.numbers import CURRENCY, UNITS, english_number, joined_digits
from rag.claims.reading import Reading, Unit

_EMPTY_WORDS = """
a an the be am is are was were been being do does did done have has had having i me my we us our you your he
him his she her it its they them their this that these those there who whom whose which please
"""
_PREPOSITION_WORDS = """
of in on at by for from to with without into onto over under above below between among through during before
after until till since against about as than per within across behind beside near off via toward towards
except despite unlike like upon outside inside
"""
_SCOPE_WORDS = """
if unless when whenever while until till only except although though because whether that without
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())
"""Articles, copulas, auxiliaries without modality, and pronouns: what they stand for is said elsewhere."""
PREPOSITIONS = frozenset(_PREPOSITION_WORDS.split())
SUBORDINATORS = frozenset(_SCOPE_WORDS.split())
"""Words that bear on the whole sentence: with one of them its clauses do not stand alone."""
_OPENS_NOUN = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "my", "our", "your", "his", "her", "its", "their"}
)
_NEGATIONS = frozenset(
    {"not", "no", "never", "neither", "nor", "none", "nobody", "nothing", "nowhere", "hardly", "without"}
)
_BREAKS = frozenset(
    {
        "and",
        "or",
        "but",
        "nor",
        "if",
        "unless",
        "when",
        "while",
        "because",
        "although",
        "though",
        "so",
        "then",
    }
)
_ASKING = frozenset({"what", "which", "who", "whom", "whose", "when", "where", "why", "how"})
_SPOKEN = (
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\bcan['’]t\b"), "can not"),
    (re.compile(r"\bwon['’]t\b"), "will not"),
    (re.compile(r"n['’]t\b"), " not"),
    (re.compile(r"['’](?:s|re|m|ve|d)\b"), " "),
    (re.compile(r"['’]ll\b"), " will"),
    (re.compile(r"\bper cent\b"), "percent"),
)
_TOKEN = re.compile(
    r"[$€£₩¥%]|°[cf]\b|[<>≤≥=≠±]+"
    r"|(?<![\w.])[-−]\d+(?:\.\d+)*%?"
    r"|[^\W_][\w]*(?:[._:/@+-][^\W_]\w*)*[+#]*"
    r"|[,;:.!?—–()|]"
)
_MEASURED = re.compile(r"([-−]?\d+(?:[.:/]\d+)*)-?([a-z]+)")
_ORDINAL = frozenset({"st", "nd", "rd", "th"})
_HYPHENATED = re.compile(r"[a-z]+(?:-[a-z]+)+")
_NUMERIC = re.compile(r"[-−]?\d+(?:[.:/-]\d+)*")


def read_english(sentence: str) -> Reading:
    """Take a sentence apart; a preposition governs the nouns behind it, a negation the next word."""
    text = joined_digits(unicodedata.normalize("NFKC", sentence)).lower()
    for pattern, plain in _SPOKEN:
        text = pattern.sub(plain, text)
    tokens = [part for token in _TOKEN.findall(text) for part in _parts(token)]
    asks = any(token in _ASKING for token in tokens)
    units: list[Unit] = []
    bounds: list[int] = []
    role, governs, is_negated = "", False, False
    pending_currency = ""
    index = 0
    while index < len(tokens):
        token = tokens[index]
        number, words = english_number(tokens[index : index + 12])
        if token in ";—–" or (token == "," and tokens[index + 1 : index + 2] in (["and"], ["but"])):
            bounds.append(len(units))
            role, is_negated = "", False
            index += 2 if token == "," else 1
            continue
        if not token[0].isalnum() and token[0] not in "-−<>≤≥=≠±°%" + CURRENCY:
            role, is_negated = "", False
        elif token in PREPOSITIONS:
            role, governs = token, False
            is_negated = is_negated or token in _NEGATIONS
        elif token in CURRENCY and index + 1 < len(tokens) and _NUMERIC.fullmatch(tokens[index + 1]):
            pending_currency = token
        elif words or _NUMERIC.fullmatch(token):
            units.append(Unit(number or token.replace("−", "-"), role, is_negated, is_number=True))
            governs, is_negated = True, False
            index += max(1, words) - 1
            if pending_currency:
                units.append(Unit(UNITS[pending_currency], role))
                pending_currency = ""
        elif token in _NEGATIONS:
            is_negated = True
        elif token in _EMPTY:
            if token not in _OPENS_NOUN or governs:
                role = ""
        else:
            if token in _BREAKS:
                role = ""
            units.append(Unit(UNITS.get(token, UNITS.get(stem(token), stem(token))), role, is_negated))
            governs, is_negated = True, False
        index += 1
    if is_negated:
        units.append(Unit("not", is_negated=True))
    alone = not any(token in SUBORDINATORS for token in tokens)
    return Reading(tuple(units), tuple(bounds) if alone else (), asks)


def _parts(token: str) -> list[str]:
    """Cut 5gb and 180-day into number and unit, and a hyphenated word into its words."""
    measured = _MEASURED.fullmatch(token)
    if measured and measured[2] not in _ORDINAL:
        return [measured[1], measured[2]]
    if token.endswith("%") and len(token) > 1:
        return [token[:-1], "%"]
    return token.split("-") if _HYPHENATED.fullmatch(token) else [token]


def stem(word: str) -> str:
    """Take off the endings of plural, -ing and -ed; what is left only has to be alike for like words."""
    if not word.isalpha() or len(word) < 4:
        return word
    for ending in ("ing", "ed", "es", "s", "e"):
        base = word.removesuffix(ending)
        if base != word and len(base) >= 3 and any(letter in "aeiouy" for letter in base):
            if ending == "s" and base.endswith(("s", "u", "i")):
                continue
            if ending in ("ing", "ed") and len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz":
                base = base[:-1]
            word = base
            break
    return word[:-1] + "y" if word.endswith("i") else word
