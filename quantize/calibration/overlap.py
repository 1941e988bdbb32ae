"""Find text that two sets share, by runs of words; and what the gate evaluates on, to keep apart from it."""

from __future__ import annotations

from collections.abc import Iterable

from quantserve.core.errors import InputError
from quantserve.quantize.calibration import builtin, corpus
from quantserve.quantize.calibration.documents import Document, plain
from quantserve.quantize.calibration.words import runs

_NEAR_WORDS = 8
_NEAR_SHARE = 0.8


class EvaluationOverlap(InputError):
    """Calibration text holds a passage of the evaluation text."""


def evaluation_documents() -> list[Document]:
    """Return every text that the gate may evaluate on."""
    return [*corpus.evaluation_documents(), builtin.evaluation_text()]


def refuse_overlap(documents: Iterable[Document], evaluation: Iterable[Document]) -> None:
    """Check that no run of 13 words of the evaluation text occurs in the documents.

    Raises:
        EvaluationOverlap: quoting the first passage that does.
    """
    held = {run for document in evaluation for run in runs(plain(document), builtin.OVERLAP_WORDS)}
    for document in documents:
        for run in runs(plain(document), builtin.OVERLAP_WORDS):
            if run in held:
                raise EvaluationOverlap(
                    f"The calibration text holds a passage of the evaluation text: “{' '.join(run)}”",
                    mend="Leave that document out: figures measured on it would flatter the artifact",
                )


def without_near_duplicates(documents: Iterable[Document]) -> list[Document]:
    """Drop documents whose runs of 8 words nearly all (80 %) occurred in those before."""
    seen: set[int] = set()
    kept = []
    for document in documents:
        found = {hash(run) for run in runs(plain(document), _NEAR_WORDS)}
        if found and len(found & seen) >= _NEAR_SHARE * len(found):
            continue
        seen |= found
        kept.append(document)
    return kept
