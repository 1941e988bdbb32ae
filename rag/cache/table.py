"""The cache's SQLite table, and the vectors of one scope in memory.

SQLite and not diskcache, since answer, vector and scope then stand in one row that is written and deleted
as a whole, rows are JSON (diskcache unpickles whatever lies in its folder), and age, size and use are one
query each.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantserve.core.files import private_file
from quantserve.rag.config import CacheConfig

Floats = npt.NDArray[np.float32]
_SCHEMA_VERSION = 2
_BUSY_S = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    scope TEXT, key TEXT, question TEXT, answer TEXT, vector BLOB, created REAL, used REAL, bytes INTEGER,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS by_use ON answers(used DESC, created DESC, key, scope, bytes);
CREATE TABLE IF NOT EXISTS judges (identity TEXT PRIMARY KEY, figures TEXT, measured REAL);
"""


@dataclass
class _Scoped:
    """The questions of one scope with a vector."""

    scope: str
    keys: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    vectors: list[Floats] = field(default_factory=list)


class AnswerTable:
    """One file, one connection, one lock: a look-up takes microseconds, a generation seconds."""

    def __init__(self, path: Path, config: CacheConfig) -> None:
        """Nothing is opened yet."""
        self.path = path
        self._config = config
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        self._scoped: _Scoped | None = None
        self._version = -1

    def get(self, scope: str, key: str) -> dict[str, Any] | None:
        """Return a cached answer that is not too old, and mark it used."""
        now = time.time()
        with self._lock:
            record = self._connection.execute(
                "SELECT answer FROM answers WHERE scope = ? AND key = ? AND created >= ?",
                (scope, key, now - self._config.max_age_s),
            ).fetchone()
            if record is None:
                return None
            self._connection.execute(
                "UPDATE answers SET used = ? WHERE scope = ? AND key = ?", (now, scope, key)
            )
        answer: dict[str, Any] = json.loads(record[0])
        return answer

    def judge_figures(self, identity: str) -> dict[str, int] | None:
        """Return what was measured of a judge, where that is not too old."""
        with self._lock:
            record = self._connection.execute(
                "SELECT figures FROM judges WHERE identity = ? AND measured >= ?",
                (identity, time.time() - self._config.max_age_s),
            ).fetchone()
        figures: dict[str, int] | None = None if record is None else json.loads(record[0])
        return figures

    def put_judge_figures(self, identity: str, figures: Mapping[str, int]) -> None:
        """Write what was measured of a judge, and delete what is too old."""
        now = time.time()
        with self._lock:
            self._connection.execute("DELETE FROM judges WHERE measured < ?", (now - self._config.max_age_s,))
            self._connection.execute(
                "INSERT OR REPLACE INTO judges VALUES (?, ?, ?)", (identity, json.dumps(figures), now)
            )

    def nearest(self, scope: str, vector: Floats, count: int, least: float) -> list[tuple[str, str]]:
        """Return up to `count` (key, question) with a cosine of `least`, closest first."""
        with self._lock:
            scoped = self._in_memory(scope)
            if not scoped.keys:
                return []
            cosines = np.stack(scoped.vectors) @ vector
            order = np.argsort(-cosines, kind="stable")[:count]
            return [
                (scoped.keys[index], scoped.questions[index]) for index in order if cosines[index] >= least
            ]

    def put(
        self, scope: str, key: str, question: str, answer: Mapping[str, Any], vector: Floats | None
    ) -> None:
        """Write a row, and delete what is too old, too much or longest unused."""
        text = json.dumps(answer, ensure_ascii=False)
        blob = None if vector is None else np.ascontiguousarray(vector, np.float32).tobytes()
        size = len(text.encode()) + len(question.encode()) + len(blob or b"")
        if size > self._config.max_bytes:
            return
        now = time.time()
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (scope, key, question, text, blob, now, now, size),
                )
                removed = self._shrink(connection, now)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            scoped = self._scoped
            if scoped is not None and scoped.scope == scope:
                if removed or key in scoped.keys:
                    self._scoped = None
                elif vector is not None:
                    scoped.keys.append(key)
                    scoped.questions.append(question)
                    scoped.vectors.append(np.asarray(vector, np.float32))

    def size(self) -> tuple[int, int]:
        """Return the rows and their bytes."""
        with self._lock:
            entries, size = self._connection.execute(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM answers"
            ).fetchone()
        return int(entries), int(size)

    def clear(self) -> None:
        """Delete every row."""
        with self._lock:
            self._connection.execute("DELETE FROM answers")
            self._connection.execute("DELETE FROM judges")
            self._scoped = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _shrink(self, connection: sqlite3.Connection, now: float) -> int:
        """Delete old rows, then the longest unused until count and bytes fit; return how many went."""
        removed = connection.execute(
            "DELETE FROM answers WHERE created < ?", (now - self._config.max_age_s,)
        ).rowcount
        removed += connection.execute(
            "DELETE FROM answers WHERE (scope, key) IN ("
            " SELECT scope, key FROM ("
            "  SELECT scope, key, row_number() OVER newest AS place, sum(bytes) OVER newest AS upto"
            "  FROM answers WINDOW newest AS (ORDER BY used DESC, created DESC, key"
            "  ROWS UNBOUNDED PRECEDING)"
            " ) WHERE place > ? OR upto > ?)",
            (self._config.max_entries, self._config.max_bytes),
        ).rowcount
        return removed

    def _in_memory(self, scope: str) -> _Scoped:
        """Return the scope's vectors; they are read again when another process has written."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if self._scoped is None or self._scoped.scope != scope or version != self._version:
            scoped = _Scoped(scope)
            for key, question, blob in self._connection.execute(
                "SELECT key, question, vector FROM answers WHERE scope = ? AND vector IS NOT NULL"
                " AND created >= ?",
                (scope, time.time() - self._config.max_age_s),
            ):
                scoped.keys.append(key)
                scoped.questions.append(question)
                scoped.vectors.append(np.frombuffer(blob, np.float32))
            self._scoped, self._version = scoped, version
        return self._scoped

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            private_file(self.path)  # SQLite's files beside it take its mode
            try:
                self._opened = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # no permission, no space, locked
                    raise
                # No database at all, or a damaged one: answers can be made again.
                self.path.unlink()
                private_file(self.path)
                self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA_VERSION):
                connection.execute("DROP TABLE IF EXISTS answers")
                connection.execute("DROP TABLE IF EXISTS judges")
            connection.executescript(_TABLE)
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection
