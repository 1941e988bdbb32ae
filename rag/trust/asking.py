"""Which part of what was typed asks: a name matters there, and nowhere else.

"제 이름은 Jake인데, 만 5년을 일하면 어떤 휴가를 받나요?" asks for a leave; Jake only says who asks.
"""

from __future__ import annotations

import re
import string
from itertools import pairwise

from quantserve.rag.claims import read
from quantserve.rag.claims.english import PREPOSITIONS, SUBORDINATORS
from quantserve.rag.store.korean import kiwi
from quantserve.rag.text import language_of, split_sentences

_PIECE = re.compile(r"[^,;:—–]+[,;:—–]?\s*")
_MY_OWN = re.compile(
    r"\b(?:i|i['’]m|i['’]ve|my|me|we|we['’]re|our|us)\b|\b(?:is|am|are)\b|\bhere\b", re.IGNORECASE
)
_ASKS = re.compile(
    r"^\W*(?:(?:and|but|so|then)\s+)?(?:what|which|who|whom|whose|when|where|why|how|is|are|am|was|were|do|does|"
    r"did|can|could|may|might|must|should|shall|will|would|has|have|had)\b",
    re.IGNORECASE,
)
_NAME_ALONE = re.compile(r"[A-Z][\w.'’-]*(?:\s+[A-Z][\w.'’-]*){0,2}")
_MARKS = string.whitespace + string.punctuation + "…。！？、，；：“”‘’–—·"
_LEADING = ("데", "고", "라서")
_ENDINGS = frozenset({"EC", "EF", "NNB"})
"""What the analyser takes 는데 for: an ending, or a noun (는 데)."""
_SPEAKER = frozenset({"저", "나", "제", "내", "우리", "저희"})


def asked_part(question: str) -> str:
    """Return the part of a question that asks; all of it where none stands out.

    Left out are sentences that only state something beside one that asks, and, before what is asked, clauses
    in which somebody says who they are.
    """
    sentences = split_sentences(question)
    asking = [sentence for sentence in sentences if sentence.rstrip().endswith(("?", "？"))]
    whole = "".join(asking or sentences)
    return "".join(_without_background(sentence) for sentence in split_sentences(whole)) or whole


def _without_background(sentence: str) -> str:
    pieces = _PIECE.findall(sentence)
    is_background = _english_background
    if language_of(sentence) == "ko":
        pieces = [part for piece in pieces for part in _korean_clauses(piece)]
        is_background = _korean_background
    kept = [piece for piece in pieces[:-1] if not is_background(piece)]
    return "".join([*kept, *pieces[-1:]]) if pieces else sentence


def _english_background(piece: str) -> bool:
    """Whether a piece before another tells of the asker: it neither asks nor says on what terms."""
    first = piece.split()[0].lower() if piece.split() else ""
    if first in PREPOSITIONS or first in SUBORDINATORS or _ASKS.match(piece):
        return False
    return bool(_MY_OWN.search(piece) or _NAME_ALONE.fullmatch(piece.strip(_MARKS)))


def _korean_clauses(piece: str) -> list[str]:
    """Cut behind the endings that lead on to what is asked, with or without a comma: 이름은 Jake인데."""
    tokens = kiwi().tokenize(piece)
    ends = [
        token.end
        for token, following in pairwise(tokens)
        if token.tag in _ENDINGS and token.form.endswith(_LEADING) and following.start > token.end
    ]
    bounds = [0, *ends, len(piece)]
    return [piece[start:end] for start, end in pairwise(bounds) if piece[start:end]]


def _korean_background(piece: str) -> bool:
    """Whether a piece before another tells of the asker: who they are (이다) or what they do (저는)."""
    tokens = [(token.form, token.tag.partition("-")[0]) for token in kiwi().tokenize(piece)]
    said = [token for token in tokens if token[1][0] != "S" or token[1] in ("SL", "SN")]
    if not said or said[-1][1] not in ("EC", "EF"):
        return bool(_NAME_ALONE.fullmatch(piece.strip(_MARKS)))
    if read(piece).asks:
        return False
    is_copula = any(tag == "VCP" for _, tag in said[-3:])
    is_own = any(tag == "NP" and form in _SPEAKER for form, tag in said)
    return said[-1][0] not in ("면", "으면", "려면", "으려면") and (is_copula or is_own)
