"""The cache: an exact look-up, a semantic one, and counters of how they did."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quantserve.rag.cache.same import same_question
from quantserve.rag.cache.table import AnswerTable
from quantserve.rag.config import CacheConfig
from quantserve.rag.text import normalise

Floats = npt.NDArray[np.float32]
Kind = Literal["exact", "semantic"]
_PROBLEMS = (sqlite3.Error, OSError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scope:
    """Everything but the question that an answer depends on; answers of another scope are never served."""

    index: str
    """Identity of the index generation."""
    model: str
    """Fingerprint of the served model; empty where none is asked."""
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

    `rejected` counts close questions that ask something else.
    """

    exact: int = 0
    semantic: int = 0
    rejected: int = 0
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


class AnswerCache:
    """Kept answers in one SQLite file, for any number of threads and processes.

    A file that cannot be written or read costs the cache, not the answer: it is logged and counted.
    """

    def __init__(self, path: Path, config: CacheConfig) -> None:
        """The file is opened with the first question."""
        self.config = config
        self._table = AnswerTable(path, config)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("exact", "semantic", "rejected", "missed", "stored", "failed"), 0)

    def exact(self, scope: Scope, question: str, context: str = "") -> dict[str, Any] | None:
        """Return what was kept for this very question; `context` is whatever else it was asked with."""
        try:
            found = self._table.get(scope.key, question_key(question, context))
        except _PROBLEMS as error:
            self._failed(error)
            return None
        if found is not None:
            self._count("exact")
        return found

    def semantic(self, scope: Scope, question: str, vector: Floats) -> dict[str, Any] | None:
        """Return what was kept for a question that surely asks the same; `vector` [d] is normalised."""
        if not self.config.semantic:
            return None
        try:
            near = self._table.nearest(scope.key, vector, self.config.candidates, self.config.min_similarity)
            for key, kept_question in near:
                if same_question(question, kept_question):
                    found = self._table.get(scope.key, key)
                    if found is not None:
                        self._count("semantic")
                        return found
                else:
                    self._count("rejected")
        except _PROBLEMS as error:
            self._failed(error)
        return None

    def missed(self) -> None:
        """Count a question that neither look-up answered."""
        self._count("missed")

    def put(
        self, scope: Scope, question: str, answer: Mapping[str, Any], vector: Floats | None, context: str = ""
    ) -> None:
        """Keep an answer; without `vector` it is found by its very question only."""
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

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _failed(self, error: Exception) -> None:
        self._count("failed")
        _log.warning("the answer cache %s cannot be used: %s", self._table.path, error)


def question_key(question: str, context: str = "") -> str:
    """Return a digest of a question; blanks and a missing question mark do not count."""
    plain = " ".join(normalise(question).split()).rstrip("?.! ？。")
    return hashlib.sha256(f"{plain}\0{context}".encode()).hexdigest()[:32]
