"""Take an English question apart."""

from __future__ import annotations

import re

from quantserve.rag.cache.meaning import Meaning, number_of

_TOKEN = re.compile(
    r"-?\d+(?:[.,:/]\d+)*%?|[A-Za-z가-힣_][A-Za-z0-9가-힣_]*(?:[-./+#][A-Za-z0-9가-힣_]+)*[+#]*|[^\w\s]"
)
_WH = {
    "what": "what", "which": "what", "who": "who", "whom": "who", "whose": "whose", "when": "when",
    "where": "where", "why": "why", "how": "how",
}  # fmt: skip
_NUMBERS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "once": "1x", "twice": "2x",
    "first": "1.", "second": "2.", "third": "3.", "half": "1/2", "dozen": "12",
    "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000",
}  # fmt: skip
_MANNER = {
    "was": "past", "were": "past", "did": "past", "had": "past", "will": "future", "shall": "future",
    "must": "must", "should": "should", "ought": "should", "need": "must", "required": "must",
    "can": "can", "could": "can", "may": "can", "allowed": "can", "able": "can", "possible": "can",
    "would": "would", "might": "might",
}  # fmt: skip
_NOT = frozenset({"not", "no", "never", "none", "neither", "nor", "without"})
_EMPTY = frozenset(
    [
        "a",
        "an",
        "the",
        "is",
        "are",
        "am",
        "be",
        "been",
        "being",
        "was",
        "were",
        "did",
        "do",
        "does",
        "done",
        "had",
        "has",
        "have",
        "having",
        "i",
        "we",
        "you",
        "he",
        "she",
        "they",
        "it",
        "me",
        "us",
        "my",
        "our",
        "your",
        "of",
        "in",
        "on",
        "at",
        "for",
        "to",
        "and",
        "that",
        "there",
        "please",
        "tell",
        "explain",
        "describe",
        "say",
        "show",
        "know",
        "give",
        "kindly",
        "let",
        "want",
        "like",
        "about",
        "so",
        "then",
        "exactly",
        "actually",
        "shall",
        "will",
        "s",
        "re",
        "ve",
        "ll",
        "d",
        "m",
    ]
)
_SPOKEN = (
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\bwon['’]t\b"), "will not"),
    (re.compile(r"\bcan['’]t\b"), "can not"),
    (re.compile(r"n['’]t\b"), " not"),
    (re.compile(r"\b(?:have|has|got) to\b"), " must "),
    (re.compile(r"\bhad to\b"), " did must "),
    (
        re.compile(r"\bwhat(?: is|['’]s) the reason (?:for|that|why)\b|\bfor what reason\b|\bhow come\b"),
        " why ",
    ),
    (re.compile(r"\bwhat(?: is|['’]s) the (?:way|procedure|method) (?:to|for|of)\b"), " how "),
    (re.compile(r"\bin (?:what|which) (?:way|manner)\b"), " how "),
    (re.compile(r"\bat (?:what|which) (?:time|point)\b|\bwhat time\b"), " when "),
    (re.compile(r"\b(?:in|at) (?:what|which) place\b"), " where "),
    (re.compile(r"['’]s\b"), " "),
    (re.compile(r"s['’](?=\s)"), "s "),
)
_REQUEST = re.compile(
    r"\b(?:can|could|would|will) you\b|\bplease\b|\bi(?:['’]d| would) like to know\b|\bdo you know\b"
)
_OF = re.compile(
    r"\b(?P<head>(?:[a-z0-9_-]{1,40} ){0,2}[a-z0-9_-]{1,40}) (?:of|for) (?:the |a |an |our |your )?"
    r"(?P<owner>[a-z0-9_-]{1,40}(?: [a-z0-9_-]{1,40}){0,2}?)(?=\s*[?.!,]|\s*$)"
)
_ASIDE = re.compile(r"^(?:what|which|who|where|when|how|why|is|are|was|were|the|a|an|tell|me|do|does|did)$")
_NAMED = re.compile(r"\b(?:[A-Z]{2,}|(?<=\S )A)\b")
"""Abbreviations, and the A of a plan A: in small letters they may be words that do not count (IT, US)."""
_IRREGULAR = {
    "made": "make", "built": "build", "kept": "keep", "taken": "take", "took": "take", "written": "write",
    "wrote": "write", "found": "find", "sent": "send", "held": "hold", "begun": "begin", "began": "begin",
    "stopped": "stop", "people": "person", "children": "child", "indices": "index", "indexes": "index",
    "larger": "large", "bigger": "large", "big": "large", "max": "maximum", "largest": "maximum",
    "biggest": "maximum", "min": "minimum", "smallest": "minimum",
}  # fmt: skip
_VOWELS = "aeiou"


def _stem(word: str) -> str:
    """Take off the endings of plural, -ing and -ed; what is left only has to be alike for like words."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if not word.isalpha() or len(word) < 4:
        return word
    for ending in ("ing", "ed", "es", "s", "e"):
        base = word.removesuffix(ending)
        if base != word and len(base) >= 3 and any(letter in _VOWELS + "y" for letter in base):
            if ending == "s" and base.endswith(("s", "u", "i")):
                continue
            if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz":
                base = base[:-1]
            word = base
            break
    return word[:-1] + "y" if word.endswith("i") else word


def _owners_first(text: str) -> str:
    """Write "the port of the server" as "server port", as in "the server's port"."""

    def turn(match: re.Match[str]) -> str:
        head = match["head"].split()
        aside = [word for word in head if _ASIDE.match(word)]
        rest = [word for word in head if not _ASIDE.match(word)]
        return " ".join([*aside, match["owner"], *rest])

    return _OF.sub(turn, text)


def english_meaning(question: str) -> Meaning:
    """Take a question apart; every word counts but articles, auxiliaries and politeness."""
    text = _NAMED.sub(r"\g<0>_", " ".join(question.split())) if not question.isupper() else question
    text = text.lower()
    request = bool(_REQUEST.search(text))
    text = _REQUEST.sub(" ", text)
    for pattern, plain in _SPOKEN:
        text = pattern.sub(plain, text)
    text = _owners_first(" ".join(text.split()))
    words: list[str] = []
    numbers: list[str] = []
    asked: set[str] = set()
    manner: set[str] = set()
    negated = 0
    for token in _TOKEN.findall(text):
        if token == "when" and asked:
            words.append("if")  # what happens when
        elif token in _WH:
            asked.add(_WH[token])
        elif token in _NUMBERS or token[0].isdigit() or (token[0] == "-" and len(token) > 1):
            numbers.append(_NUMBERS.get(token) or number_of(token))
            words.append("#")
        elif token in _NOT:
            negated += 1
            words.append("without" if token == "without" else "NOT")
        elif token in _MANNER:
            manner.add(_MANNER[token])
            if _MANNER[token] in ("must", "should", "would", "might"):
                words.append(_MANNER[token].upper())
        elif token in ("%", "+", "-", "<", ">", "="):
            words.append(token)
        elif token[0].isalnum() and token not in _EMPTY:
            words.append(_stem(token))
    if "how" in asked:
        manner.discard("can")  # how do I, how can I
    if not asked and (request or text.startswith(("tell", "explain", "describe", "give", "show"))):
        asked.add("what")
    return Meaning("en", tuple(words), tuple(numbers), frozenset(asked), frozenset(manner))
