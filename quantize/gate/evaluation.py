"""The held-out text: cut into passages, and proved not to be what the artifact was calibrated on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from quantize.artifact import Calibration
from quantize.calibration.documents import plain
from quantize.calibration.recall import recall
from quantize.gate.errors import EvaluationOverlap, GateError

SHINGLE_WORDS = 50


@dataclass(frozen=True)
class Evaluation:
    """Passages of text and the name of where they are from."""

    source: str
    passages: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of the passages in their order."""
        return hashlib.sha256("\0".join(self.passages).encode()).hexdigest()


def cut_passages(text: str, count: int, chars: int) -> tuple[str, ...]:
    """Return `count` passages of about `chars` characters, evenly spread and whole at both ends' words.

    Raises:
        GateError: the text is too short for passages that do not overlap.
    """
    if len(text) < count * chars:
        raise GateError(
            f"{count} passages of {chars} characters need {count * chars} of evaluation text, "
            f"there are {len(text)}",
            mend="Give more text",
        )
    stride = len(text) // count
    passages = []
    for start in range(0, stride * count, stride):
        piece = text[start : start + chars]
        if start > 0 and not text[start - 1].isspace():
            piece = piece.partition(" ")[2]
        passages.append(piece.rpartition(" ")[0].strip())
    return tuple(passages)


def shingles(text: str, words: int = SHINGLE_WORDS) -> frozenset[int]:
    """Return 64-bit hashes of every run of `words` words, so that any shared run of that length shows.

    Case and white space do not count. A text shorter than `words` is one shingle (Broder 1997, On the
    resemblance and containment of documents).
    """
    tokens = text.casefold().split()
    runs = range(max(1, len(tokens) - words + 1)) if tokens else range(0)
    return frozenset(
        int.from_bytes(hashlib.blake2b(" ".join(tokens[i : i + words]).encode(), digest_size=8).digest())
        for i in runs
    )


def refuse_overlap(evaluation: Evaluation, calibration_text: str) -> None:
    """Check that no 50-word run of the evaluation occurs in the calibration text.

    Raises:
        EvaluationOverlap: naming the first passage that does.
    """
    calibrated = shingles(calibration_text)
    for passage in evaluation.passages:
        if not calibrated.isdisjoint(shingles(passage)):
            raise EvaluationOverlap(
                f"the evaluation passage {passage[:60]!r}… occurs in the calibration text",
                mend="Calibrate on other text: figures measured on it would flatter the artifact",
            )


def overlap_checked(evaluation: Evaluation, calibration: Calibration | None) -> bool:
    """Refuse an overlap with the artifact's calibration text; return whether that text could be read.

    The text is read again from where the manifest says it came from, as it is today. False means
    unknown: a hub data set, a file that moved, or an artifact that records no calibration.

    Raises:
        EvaluationOverlap: from `refuse_overlap`.
    """
    documents = None if calibration is None else recall(calibration)
    if documents is None:
        return False
    refuse_overlap(evaluation, "\n\n".join(map(plain, documents)))
    return True
