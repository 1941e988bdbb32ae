"""Read an English sentence. The lists are the language's closed classes: no new word ever joins them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from quantserve.rag.claims.numbers import CURRENCY, UNITS, english_number, is_symbol, plain_numbers
from quantserve.rag.claims.reading import PAST, Reading, Unit

_EMPTY_WORDS = """
a an the be am is are was were been being do does did done have has had having this that these those there who
whom whose which please
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
"""Articles, copulas, auxiliaries without modality, pronouns that point: what they mean is said elsewhere."""
PERSONS = {
    word: words.split()[0]
    for words in (
        "i me my mine", "we us our ours", "you your yours", "he him his", "she her hers", "it its",
        "they them their theirs",
    )
    for word in words.split()
}  # fmt: skip
"""Personal pronouns and whom each means."""
_BE = frozenset({"be", "am", "is", "are", "been", "being"})
_WAS = frozenset({"was", "were", "had", "did"})
_FINITE = frozenset(
    {"am", "is", "are", "was", "were", "do", "does", "did", "has", "have", "had"}
    | {"can", "could", "may", "might", "must", "shall", "should", "will", "would"}
)
"""Auxiliaries that only a clause with a subject has before a verb."""
_SMALL_AMOUNTS = frozenset({"few", "little"})
"""Words that an article turns: few is hardly any, a few is some."""
PREPOSITIONS = frozenset(_PREPOSITION_WORDS.split())
SUBORDINATORS = frozenset(_SCOPE_WORDS.split())
"""Words that bear on the whole sentence: with one of them its clauses do not stand alone."""
_OPENS_NOUN = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "my", "our", "your", "his", "her", "its", "their"}
)
_NEGATIONS = frozenset(
    {
        "not",
        "no",
        "non",
        "never",
        "neither",
        "nor",
        "none",
        "nobody",
        "nothing",
        "nowhere",
        "hardly",
        "without",
    }
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
    (re.compile(r"\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bcan['’]t\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon['’]t\b", re.IGNORECASE), "will not"),
    (re.compile(r"n['’]t\b", re.IGNORECASE), " not"),
    (re.compile(r"['’](?:s|re|m|ve|d)\b", re.IGNORECASE), " "),
    (re.compile(r"['’]ll\b", re.IGNORECASE), " will"),
    (re.compile(r"\bper cent\b", re.IGNORECASE), "percent"),
)
_TOKEN = re.compile(
    r"[$€£₩¥%]|°[cfCF]\b|[<>≤≥=≠±]+"
    r"|(?<![\w.])[-−]\d+(?:\.\d+)*%?"
    r"|[^\W_][\w]*(?:[._:/@+^-][^\W_]\w*)*[+#]*"
    r"|[,;:.!?—–()|]"
)
_MEASURED = re.compile(r"([-−]?\d+(?:[.:/]\d+)*)-?([A-Za-z]+)")
_ORDINAL = frozenset({"st", "nd", "rd", "th"})
_HYPHENATED = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)+")
_LEAST_CLAUSE = 3
"""Units of a subject, a verb and an object."""
_NUMERIC = re.compile(r"[-−]?\d+(?:[.:/-]\d+)*")


def read_english(sentence: str) -> Reading:
    """Take a sentence apart; a preposition governs the nouns behind it, a negation the next word."""
    text = plain_numbers(sentence)
    for pattern, plain in _SPOKEN:
        text = pattern.sub(plain, text)
    reader = _Reader(text)
    while reader.index < len(reader.tokens):
        reader.step()
    return reader.reading()


class _Reader:
    """Goes through the words of one sentence."""

    def __init__(self, text: str) -> None:
        written: list[str] = []
        self.joined: list[bool] = []
        for token in _TOKEN.findall(text):
            parts = _parts(token)
            written += parts
            is_compound = len(parts) > 1 and "-" in token and not _MEASURED.fullmatch(token)
            self.joined += [is_compound and part is not parts[-1] for part in parts]
        self.tokens = [word.lower() for word in written]
        self._written = written
        self.index = 0
        self._units: list[Unit] = []
        self._bounds: list[int] = []
        self._semicolons: set[int] = set()
        self._edges: list[int] = []
        self._persons: list[str] = []
        self._finite: list[int] = []
        """How many units stand before each auxiliary."""
        self._role, self._governs, self._is_negated, self._auxiliary = "", False, False, ""

    def step(self) -> None:
        """Read the next word, or the next number of several words."""
        token = self.tokens[self.index]
        following = self.tokens[self.index + 1 : self.index + 2]
        number, words = english_number(self.tokens[self.index : self.index + 12])
        if token == ";" or (token == "," and following in (["and"], ["but"])):
            self._bound()
            if token == ";":
                self._semicolons.add(len(self._units))
            self.index += token == ","
        elif not token[0].isalnum() and token[0] not in "-−<>≤≥=≠±°%" + CURRENCY:
            self._end_role()
            self._edges.append(len(self._units))
        elif token in PREPOSITIONS:
            # "except on Sundays" is not "on Sundays", and "off before" not "on before"
            follows = self._role and not self._governs
            self._role, self._governs = f"{self._role} {token}" if follows else token, False
            self._is_negated = self._is_negated or token in _NEGATIONS
        elif token in CURRENCY and following and _NUMERIC.fullmatch(following[0]):
            digits = self.tokens[self.index + 1]
            scaled, words = english_number(self.tokens[self.index + 1 : self.index + 13])
            self._add(Unit(scaled or digits, self._role, is_number=True))
            self._add(Unit(UNITS[token], self._role))
            self.index += max(1, words)
        elif words or _NUMERIC.fullmatch(token):
            self._add(Unit(number or token.replace("−", "-"), self._role, is_number=True))
            self.index += max(1, words) - 1
        elif token in _NEGATIONS:
            self._is_negated = True
        elif token in PERSONS:
            self._persons.append(f"{'' if self._governs else self._role} {PERSONS[token]}".strip())
            self._role = ""
        elif token in _EMPTY and not (token == "a" and following and following[0] in _SMALL_AMOUNTS):
            self._empty(token)
        else:
            self._word(token)
        self.index += 1

    def _empty(self, token: str) -> None:
        if token in _FINITE:
            self._finite.append(len(self._units))
        if token in _WAS or (token in _BE and not self._auxiliary):
            self._auxiliary = PAST if token in _WAS else "be"
        if token not in _OPENS_NOUN or self._governs:
            self._end_role()

    def _word(self, token: str) -> None:
        if token in _FINITE:
            self._finite.append(len(self._units))
        if token in _BREAKS:
            self._end_role()
            self._edges += [len(self._units), len(self._units) + 1]
        if token == "a":  # a few, a little
            self.index += 1
            token = f"a {self.tokens[self.index]}"
        form = UNITS.get(token, UNITS.get(stem(token), stem(token)))
        written = self._written[self.index]
        if self._units and self._units[-1].is_number and form not in UNITS.values() and is_symbol(written):
            form = written
        ending = next((end for end in ("ing", "ed") if token.endswith(end) and not form.endswith(end)), "")
        self._add(Unit(form, self._role, ending=ending, is_joined=self.joined[self.index]))

    def _add(self, unit: Unit) -> None:
        self._units.append(replace(unit, is_negated=self._is_negated, auxiliary=self._auxiliary))
        self._governs, self._is_negated, self._auxiliary = True, False, ""

    def _end_role(self) -> None:
        """End what a preposition governs; one that governs nothing is a word of its own (turn it off)."""
        if self._role and not self._governs:
            self._add(Unit(self._role))
        self._role = ""

    def _bound(self) -> None:
        """End a clause; a negation that nothing followed is not lost with it."""
        self._end_role()
        if self._is_negated:
            self._add(Unit("not"))
        self._bounds.append(len(self._units))
        self._edges.append(len(self._units))
        self._auxiliary = ""

    def reading(self) -> Reading:
        """Return what was read."""
        self._end_role()
        if self._is_negated:
            self._add(Unit("not"))
        is_bound = any(token in SUBORDINATORS for token in self.tokens)
        asks = any(token in _ASKING for token in self.tokens)
        return Reading(
            tuple(self._units),
            () if is_bound else tuple(self._standing()),
            asks,
            tuple(sorted(set(self._edges))),
            tuple(self._persons),
            is_finite=any(before > 0 for before in self._finite),
        )

    def _standing(self) -> Iterator[int]:
        """Return the bounds behind which a clause stands alone: with a subject before a finite verb.

        In "does not cover fire, water, and theft" none does, nor in "forbidden: dogs; cats". Behind a
        semicolon it is enough that there is room for subject, verb and object.
        """
        for start, end in pairwise((*self._bounds, len(self._units))):
            is_clause = start in self._semicolons and ":" not in self.tokens and end - start >= _LEAST_CLAUSE
            if is_clause or any(start < finite < end for finite in self._finite):
                yield start


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
