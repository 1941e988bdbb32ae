"""Text kept apart: what the gate evaluates on is never calibrated on, and nothing counts twice.

`pydoc_data.topics`, the language reference behind `help()`, is in every Python: about 465 KB of technical
prose. Its topics in alphabetical order are cut in two; the last part is reserved for evaluation. Topics
quote each other, so a paragraph that shares a run of words with that part is dropped from the first.
"""

from __future__ import annotations

import functools
import heapq
import re
from collections.abc import Iterable
from pydoc_data.topics import topics

from quantserve.core.errors import InputError
from quantserve.quantize.calibration import corpus
from quantserve.quantize.calibration.documents import Document, digest, normal_form, plain_text, runs

PYDOC = "pydoc_data.topics"
FIRST_EVALUATION_TOPIC = "types"
# A shared run of 13 words counts as overlap, the length with which Brown et al. 2020 (Language models are
# few-shot learners, appendix C) looked for benchmark text in training data.
OVERLAP_WORDS = 13
_SEPARATOR = "\n\n"
_NEAR_WORDS = 8
_NEAR_SHARE = 0.8


def _paragraphs(names: list[str]) -> dict[str, str]:
    """Return the topics' distinct paragraphs in order, keyed by their words alone."""
    found: dict[str, str] = {}
    for name in names:
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            words = " ".join(paragraph.split())
            if words:
                found.setdefault(words, paragraph)
    return found


@functools.cache
def _parts() -> tuple[str, str]:
    evaluation = _paragraphs([name for name in sorted(topics) if name >= FIRST_EVALUATION_TOPIC])
    calibration = _paragraphs([name for name in sorted(topics) if name < FIRST_EVALUATION_TOPIC])
    reserved = {run for text in evaluation.values() for run in runs(text, OVERLAP_WORDS)}
    distinct = [
        text
        for words, text in calibration.items()
        if words not in evaluation and reserved.isdisjoint(runs(text, OVERLAP_WORDS))
    ]
    return _SEPARATOR.join(distinct), _SEPARATOR.join(evaluation.values())


def pydoc_calibration_text() -> str:
    """Return the part that methods calibrate on, about 270,000 characters."""
    return _parts()[0]


def pydoc_evaluation_text() -> str:
    """Return the part that is reserved for evaluation, about 80,000 characters."""
    return _parts()[1]


class EvaluationOverlap(InputError):
    """Calibration text holds a passage of the evaluation text."""


def evaluation_documents() -> list[Document]:
    """Return every text that the gate may evaluate on."""
    return [*corpus.evaluation_documents(), pydoc_evaluation_text()]


def refuse_overlap(documents: Iterable[Document], evaluation: Iterable[Document]) -> None:
    """Check that no run of 13 words of the evaluation text occurs in the documents.

    Raises:
        EvaluationOverlap: quoting the first passage that does.
    """
    held = {run for document in evaluation for run in runs(plain_text(document), OVERLAP_WORDS)}
    for document in documents:
        for run in runs(plain_text(document), OVERLAP_WORDS):
            if run in held:
                raise EvaluationOverlap(
                    f"The calibration text holds a passage of the evaluation text: “{' '.join(run)}”",
                    mend="Leave that document out: figures measured on it would flatter the artifact",
                )


def without_near_duplicates(documents: Iterable[Document]) -> list[Document]:
    """Drop documents whose runs of 8 words nearly all (80 %) occurred in those before."""
    seen: set[int] = set()
    distinct = []
    for document in documents:
        found = {hash(run) for run in runs(plain_text(document), _NEAR_WORDS)}
        if found and len(found & seen) >= _NEAR_SHARE * len(found):
            continue
        seen |= found
        distinct.append(document)
    return distinct


def draw_documents(documents: Iterable[Document], *, seed: int, max_chars: int) -> list[Document]:
    """Return distinct documents in an order drawn by `seed`, as many as `max_chars` characters need.

    Every document gets the hash of the seed and its words; those with the lowest hashes are taken
    (bottom-k sampling). So a source of any size is read once in little memory, duplicates meet, and the
    same documents in another order give the same draw.
    """
    heap: list[tuple[int, Document]] = []  # highest hash first
    held: set[int] = set()
    chars = 0
    for document in documents:
        words = normal_form(document)
        if not words:
            continue
        key = -int(digest(str(seed), words)[:16], 16)
        if key in held:
            continue
        held.add(key)
        heapq.heappush(heap, (key, document))
        chars += len(plain_text(document))
        while chars - (largest := len(plain_text(heap[0][1]))) >= max_chars:
            held.discard(heapq.heappop(heap)[0])
            chars -= largest
    return without_near_duplicates(document for _, document in sorted(heap, key=lambda item: -item[0]))
