"""Thresholds for "I do not know", from the scores of questions with and without an answer in the documents.

Each signal is a number a search gives for a question; an answer is given when it is at least the threshold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.files import write_json
from rag.retrieve import Passage

THRESHOLDS_FILE = "thresholds.json"
MIN_TRUE_POSITIVE_RATE = 0.95
"""A wrong "I do not know" is worse than a try: at least this share of answerable questions stays answered."""
SIGNALS = ("similarity", "score", "bm25", "rerank")


@dataclass(frozen=True)
class Calibration:
    """One signal's threshold in one mode of search with one embedding model.

    `true_positive_rate` is the share of the answerable questions whose signal reaches the threshold,
    `false_positive_rate` that of the unanswerable ones.
    """

    embedding_fingerprint: str
    mode: str
    signal: str
    threshold: float
    true_positive_rate: float
    false_positive_rate: float
    questions: int
    unanswerable: int


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: rates at each threshold, highest first, and the area under it."""

    thresholds: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    false_positive_rates: tuple[float, ...]
    area: float


def signals_of(passages: Sequence[Passage]) -> dict[str, float]:
    """Return each signal's best value over the passages found; 0.0 where nothing was, none where unknown."""
    if not passages:
        return dict.fromkeys(SIGNALS[:3], 0.0)
    found: dict[str, list[float | None]] = {
        "similarity": [passage.similarity for passage in passages],
        "score": [passage.score for passage in passages],
        "bm25": [passage.bm25 for passage in passages],
        "rerank": [passage.rerank for passage in passages],
    }
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: max(values) for name, values in known.items() if values}


def roc(answerable: Sequence[float], unanswerable: Sequence[float]) -> Roc:
    """Return the curve of a signal (Fawcett, 2006); its area is P(answerable > unanswerable), ties a half."""
    positive, negative = np.asarray(answerable, np.float64), np.asarray(unanswerable, np.float64)
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    above = (positive[:, None] > negative[None, :]).mean()
    equal = (positive[:, None] == negative[None, :]).mean()
    return Roc(
        tuple(thresholds.tolist()),
        tuple((positive[None, :] >= thresholds[:, None]).mean(axis=1).tolist()),
        tuple((negative[None, :] >= thresholds[:, None]).mean(axis=1).tolist()),
        float(above + equal / 2),
    )


def calibrate(
    answerable: Mapping[str, Sequence[float]],
    unanswerable: Mapping[str, Sequence[float]],
    embedding_fingerprint: str,
    mode: str,
    min_true_positive_rate: float = MIN_TRUE_POSITIVE_RATE,
) -> list[Calibration]:
    """Return, for each signal, the highest threshold that keeps enough answerable questions answered.

    `answerable` and `unanswerable` hold each signal's values, one a question. A signal without values on
    both sides is left out.
    """
    found: list[Calibration] = []
    for signal in SIGNALS:
        positive, negative = answerable.get(signal, ()), unanswerable.get(signal, ())
        if not positive or not negative:
            continue
        curve = roc(positive, negative)
        point = next(
            index for index, rate in enumerate(curve.true_positive_rates) if rate >= min_true_positive_rate
        )
        found.append(
            Calibration(
                embedding_fingerprint,
                mode,
                signal,
                curve.thresholds[point],
                curve.true_positive_rates[point],
                curve.false_positive_rates[point],
                len(positive),
                len(negative),
            )
        )
    return found


def write_calibrations(path: Path, calibrations: Sequence[Calibration]) -> None:
    """Merge calibrations into a JSON file: {fingerprint: {mode: {signal: {…}}}}; others in it stay."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for one in calibrations:
        kept.setdefault(one.embedding_fingerprint, {})[one.mode] = {}
    for one in calibrations:
        kept[one.embedding_fingerprint][one.mode][one.signal] = asdict(one)
    write_json(path, kept)
