"""Whether the answer is "I do not know": before a model is asked, and after it has answered."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.trust.calibration import Entry, signals_of
from quantserve.rag.trust.index import SearchedIndex
from quantserve.rag.trust.names import unseen_names

_SAYS_SO = re.compile(
    r"^\W*(?:(?:sorry|i'?m sorry|unfortunately|죄송합니다(?:만)?)\W+)?"
    r"(?:i (?:do not|don['’]?t|cannot|can['’]?t) (?:know|say|answer|find|tell)\b"
    r"|i am (?:not sure|unable to)\b"
    r"|the (?:given |provided )?(?:passages?|documents?|context|text) (?:do(?:es)?(?: not|n['’]t)) "
    r"(?:say|hold|contain|mention|provide|state|answer)\b"
    r"|모르겠|알 수 없|알지 못|답을 찾(?:을 수 없|지 못)"
    r"|(?:주어진 |제공된 )?(?:문단|문서|자료)(?:에|에는|에서는?) .{0,30}(?:없습니다|않습니다|찾을 수 없))",
    re.IGNORECASE,
)
_LONGEST = 200
"""An answer longer than this says more than that it does not know."""


def why_unknown(
    question: str, passages: Sequence[Passage], generation: SearchedIndex, entry: Entry | None, least: float
) -> str:
    """Say why nothing that was found can hold the answer; empty where something may.

    `entry` holds the measured limits; without one, `least` bounds the best passage's cosine.
    """
    if not passages:
        return "nothing was found"
    if entry is None:
        cosines = [passage.similarity for passage in passages if passage.similarity is not None]
        return "no passage is close to the question" if cosines and max(cosines) < least else ""
    signals = signals_of(question, passages, generation)
    broken = [limit.signal for limit in entry.limits if not limit.keeps(signals)]
    if not broken:
        return ""
    if "unseen_names" in broken:
        return f"no document mentions {', '.join(unseen_names(question, passages, generation))}"
    return f"no passage is close to the question ({', '.join(broken)} below what was measured)"


def says_unknown(text: str) -> bool:
    """Whether a model's answer is that it does not know."""
    return len(text) <= _LONGEST and bool(_SAYS_SO.search(text.strip()))
