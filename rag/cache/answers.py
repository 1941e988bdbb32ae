"""The cache: an exact look-up, a semantic one that a judge must confirm, and counters of how they did."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quantserve.rag.cache.calibration import JudgeFigures, try_judge, why_refused
from quantserve.rag.cache.judge import SameAnswerJudge
from quantserve.rag.cache.table import AnswerTable
from quantserve.rag.config import CacheConfig
from quantserve.rag.errors import JudgeFailed, JudgeUnclear, JudgeUnusable
from quantserve.rag.llm import Cancellation
from quantserve.rag.text import normalise

Floats = npt.NDArray[np.float32]
Outcome = Literal["confirmed", "rejected", "unclear", "unavailable", "refused", "calibrating"]
"""What became of a close question: the judge said yes or no, answered neither, did not answer, is not
believed (why_refused), or is just being tried for another question."""
_PROBLEMS = (sqlite3.Error, OSError)
_FINAL_MARK = re.compile(r"(?<=[\w)\]\"'”’])(?: ?\?|\.|。)$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scope:
    """Everything but the question that an answer depends on; answers of another scope are never served."""

    index: str
    """Identity of the index generation."""
    model: str
    """Fingerprint of the served model; empty where none is asked."""
    language: str
    """Of the question, in which the answer is: an embedding model puts translations side by side."""
    prompt_version: int
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A digest of it."""
        told = json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class CacheStats:
    """Counts since the start, and what the file holds now.

    `semantic` are the close questions that the judge confirmed; `rejected` to `calibrating` are the others.
    """

    exact: int = 0
    semantic: int = 0
    rejected: int = 0
    unclear: int = 0
    unavailable: int = 0
    refused: int = 0
    calibrating: int = 0
    missed: int = 0
    stored: int = 0
    failed: int = 0
    entries: int = 0
    bytes: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of look-ups that were answered; None before the first."""
        asked = self.exact + self.semantic + self.missed
        return (self.exact + self.semantic) / asked if asked else None


@dataclass(frozen=True)
class SemanticLookup:
    """A cached answer, or None, and what became of each close question that was looked at."""

    answer: dict[str, Any] | None = None
    outcomes: tuple[Outcome, ...] = ()


class AnswerCache:
    """Cached answers in one SQLite file, for any number of threads and processes.

    A file that cannot be written or read costs the cache, not the answer: it is logged and counted.
    """

    def __init__(self, path: Path, config: CacheConfig) -> None:
        """The file is opened with the first question."""
        self.config = config
        self._table = AnswerTable(path, config)
        self._lock, self._calibrating = threading.Lock(), threading.Lock()
        counted = (field.name for field in dataclasses.fields(CacheStats))
        self._counts = {name: 0 for name in counted if name not in ("entries", "bytes")}
        self._refusals: dict[str, str] = {}
        """By judge: why it is not believed; empty: it is."""

    def exact(self, scope: Scope, question: str, context: str = "") -> dict[str, Any] | None:
        """Return the cached answer to this very question; `context` is whatever else it was asked with."""
        try:
            cached = self._table.get(scope.key, question_key(question, context))
        except _PROBLEMS as error:
            self._failed(error)
            return None
        if cached is not None:
            self._count("exact")
        return cached

    def semantic(
        self,
        scope: Scope,
        question: str,
        vector: Floats,
        judge: SameAnswerJudge,
        cancellation: Cancellation | None = None,
    ) -> SemanticLookup:
        """Return the cached answer to a close question that the judge confirms; `vector` [d] is normalised.

        Raises:
            Cancelled: by `cancellation`.
        """
        if not self.config.semantic:
            return SemanticLookup()
        cancellation = cancellation or Cancellation()
        outcomes: list[Outcome] = []
        answer = None
        try:
            near = self._table.nearest(scope.key, vector, self.config.candidates, self.config.min_similarity)
            for key, cached_question in near:
                outcome = self._judged(judge, question, cached_question, cancellation)
                outcomes.append(outcome)
                if outcome != "confirmed":
                    self._count(outcome)
                elif answer := self._table.get(scope.key, key):
                    self._count("semantic")
                if outcome not in ("rejected", "unclear"):
                    break
        except _PROBLEMS as error:
            self._failed(error)
        return SemanticLookup(answer, tuple(outcomes))

    def missed(self) -> None:
        """Count a question that neither look-up answered."""
        self._count("missed")

    def put(
        self, scope: Scope, question: str, answer: Mapping[str, Any], vector: Floats | None, context: str = ""
    ) -> None:
        """Cache an answer; without `vector` it is found by its very question only."""
        try:
            self._table.put(scope.key, question_key(question, context), normalise(question), answer, vector)
        except _PROBLEMS as error:
            self._failed(error)
        else:
            self._count("stored")

    def clear(self) -> None:
        """Forget everything."""
        self._table.clear()

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    @property
    def stats(self) -> CacheStats:
        """The counters, and what the file holds."""
        try:
            entries, size = self._table.size()
        except _PROBLEMS as error:
            self._failed(error)
            entries, size = 0, 0
        with self._lock:
            return CacheStats(**self._counts, entries=entries, bytes=size)

    def _judged(
        self, judge: SameAnswerJudge, question: str, cached_question: str, cancellation: Cancellation
    ) -> Outcome:
        try:
            refusal = self._refusal(judge)
            if refusal is None:
                return "calibrating"
            if refusal:
                return "refused"
            return "confirmed" if judge.confirms(question, cached_question, cancellation) else "rejected"
        except JudgeUnclear as error:
            _log.info("the semantic cache: %s", error)
            return "unclear"
        except JudgeFailed as error:
            _log.warning("no verdict for the semantic cache: %s", error)
            return "unavailable"

    def _refusal(self, judge: SameAnswerJudge) -> str | None:
        """Return why a judge is not believed, empty where it is; None while another thread tries it."""
        identity = f"{judge.identity} {self.config.max_false_hits}"
        if (known := self._refusals.get(identity)) is not None:
            return known
        if not self._calibrating.acquire(blocking=False):
            return None
        try:
            why = self._tried(judge, identity)
        except JudgeUnusable as error:
            why = f"the semantic cache stays off: {error}"
        finally:
            self._calibrating.release()
        if why:
            _log.warning("%s", why)
        self._refusals[identity] = why
        return why

    def _tried(self, judge: SameAnswerJudge, identity: str) -> str:
        """Return why a judge's figures rule it out; they are measured once and stay in the file."""
        try:
            stored = self._table.judge_figures(identity)
        except _PROBLEMS as error:
            self._failed(error)
            stored = None
        if stored is not None:
            figures = JudgeFigures(**stored)
        else:
            figures = try_judge(judge, self.config.max_false_hits)
            try:
                self._table.put_judge_figures(identity, dataclasses.asdict(figures))
            except _PROBLEMS as error:
                self._failed(error)
        return why_refused(judge.name, figures, self.config.max_false_hits)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _failed(self, error: Exception) -> None:
        self._count("failed")
        _log.warning("the answer cache %s cannot be used: %s", self._table.path, error)


def exact_form(question: str) -> str:
    """Return a question without what cannot change its meaning.

    That is: Unicode's composition and full width, runs of blanks, the capital that any sentence begins with,
    and one final question mark or full stop behind a word. Any other case stays (IT and it, Mb and MB), and
    so do an exclamation mark (5! and 5), a mark behind a mark (a?? and a?), and superscripts (10² and 102).
    """
    plain = " ".join("".join(map(_half_width, normalise(question))).split())
    plain = _FINAL_MARK.sub("", plain)
    first, blank, rest = plain.partition(" ")
    return f"{first.lower() if first[1:].islower() else first}{blank}{rest}"


def question_key(question: str, context: str = "") -> str:
    """Return a digest of a question's exact form and its context."""
    return hashlib.sha256(json.dumps([exact_form(question), context]).encode()).hexdigest()[:32]


def _half_width(character: str) -> str:
    kind, _, code = unicodedata.decomposition(character).partition(" ")
    return chr(int(code, 16)) if kind in ("<wide>", "<narrow>") else character
