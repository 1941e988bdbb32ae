"""The held-out text: passages by language, and proved not to be what the artifact was calibrated on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.quantize.artifact import CalibrationRecord
from quantserve.quantize.calibration import corpus
from quantserve.quantize.calibration.corpus import CorpusEntry
from quantserve.quantize.calibration.documents import plain_text
from quantserve.quantize.calibration.overlap import refuse_overlap
from quantserve.quantize.calibration.sources import read_recorded
from quantserve.quantize.gate.measure.config import Measurement

SOURCE = "corpus"
# About 165 tokens a passage with a tokenizer that was made for the language.
_CHARS = {"en": 700, "ko": 400}


@dataclass(frozen=True)
class Extract:
    """The beginning of one document; `judged` is False in a language that the model does not read."""

    document: str
    language: str
    text: str
    judged: bool
    max_tokens: int


@dataclass(frozen=True)
class EvaluationText:
    """The text both models are measured on, and the name of where it is from."""

    source: str
    extracts: tuple[Extract, ...]

    @property
    def sha256(self) -> str:
        """Hash of the extracts in their order."""
        parts = [f"{x.language} {x.judged} {x.max_tokens} {x.text}" for x in self.extracts]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language, those that are judged first."""
        return tuple(dict.fromkeys(x.language for x in sorted(self.extracts, key=lambda x: not x.judged)))

    @property
    def judged(self) -> tuple[str, ...]:
        """The languages the verdict rests on."""
        return tuple(dict.fromkeys(x.language for x in self.extracts if x.judged))


def choose_extracts(
    entries: Sequence[CorpusEntry], readable: Sequence[str], plan: Measurement
) -> EvaluationText:
    """Choose extracts of `plan.passages` documents in the languages the model reads, in equal shares.

    The other languages are measured on a few short ones, for the report. `readable` is what the
    calibration goes by; empty, as a byte-level tokenizer leaves it, means every language.
    """
    languages = tuple(dict.fromkeys(entry.language for entry in entries))
    judged = [name for name in languages if name in readable] or list(languages)
    extracts: list[Extract] = []
    for name in languages:
        mine = [entry for entry in entries if entry.language == name]
        is_judged = name in judged
        count = plan.passages // len(judged) if is_judged else plan.reported_passages
        most = plan.max_passage_tokens if is_judged else plan.max_reported_tokens
        extracts += [
            Extract(entry.id, name, plain_text(entry.document)[: _CHARS[name]].strip(), is_judged, most)
            for entry in spread_evenly(mine, count)
        ]
    return EvaluationText(SOURCE, tuple(extracts))


def spread_evenly(entries: Sequence[CorpusEntry], count: int) -> list[CorpusEntry]:
    """Return up to `count` entries, evenly spread, so that every kind of text is among them."""
    count = min(count, len(entries))
    return [entries[i * len(entries) // count] for i in range(count)]


def bundled_evaluation(readable: Sequence[str], plan: Measurement) -> EvaluationText:
    """Choose from the evaluation set that ships with the project."""
    return choose_extracts(corpus.entries("evaluation"), readable, plan)


def overlap_checked(evaluation: EvaluationText, calibration: CalibrationRecord | None) -> bool:
    """Refuse an overlap with the artifact's calibration text; return whether that text could be read.

    The text is read again from where the manifest says it came from, as it is today. False means
    unknown: a hub data set, a file that moved, or an artifact that records no calibration.

    Raises:
        EvaluationOverlap: a run of 13 words of the evaluation occurs in the calibration text.
    """
    documents = None if calibration is None else read_recorded(calibration)
    if documents is None:
        return False
    refuse_overlap(documents, [extract.text for extract in evaluation.extracts])
    return True
