"""English text that every Python installation holds, divided once and for all into two disjoint parts.

`pydoc_data.topics` is the language reference behind `help()`: about 465 KB of technical prose. Its
topics in alphabetical order are cut in two; the last part is never calibrated on, so that the gate can
evaluate on it. Topics quote each other, so paragraphs are compared too: one that shares a run of words
with the evaluation part is dropped from the calibration part.
"""

from __future__ import annotations

import functools
import re
from pydoc_data.topics import topics

from quantserve.quantize.calibration.words import runs

SOURCE = "pydoc_data.topics"
LANGUAGE = "en"
FIRST_EVALUATION_TOPIC = "types"
# A shared run of 13 words counts as overlap, the length with which Brown et al. 2020 (Language models are
# few-shot learners, appendix C) looked for benchmark text in training data.
OVERLAP_WORDS = 13
_SEPARATOR = "\n\n"


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
    kept = [
        text
        for words, text in calibration.items()
        if words not in evaluation and reserved.isdisjoint(runs(text, OVERLAP_WORDS))
    ]
    return _SEPARATOR.join(kept), _SEPARATOR.join(evaluation.values())


def calibration_text() -> str:
    """Return the part that methods calibrate on, about 270,000 characters."""
    return _parts()[0]


def evaluation_text() -> str:
    """Return the part that is reserved for evaluation, about 80,000 characters."""
    return _parts()[1]
