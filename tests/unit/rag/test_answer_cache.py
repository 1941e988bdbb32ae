"""The cache's file: what it keeps, for whom, how long and how much."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantserve.rag.cache import AnswerCache, Scope
from quantserve.rag.config import CacheConfig

SCOPE = Scope("index-1", "model-1", 3, {"top_k": 4})
AXES = np.eye(4, dtype=np.float32)
Open = Callable[..., AnswerCache]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def make(**settings: Any) -> AnswerCache:
        return AnswerCache(tmp_path / "cache" / "answers.db", CacheConfig(**{"semantic": True, **settings}))

    return make


def test_the_same_question_is_found_after_a_restart(opened: Open) -> None:
    opened().put(SCOPE, "연차는 며칠인가요?", {"text": "17일"}, AXES[0])
    cache = opened()
    assert cache.exact(SCOPE, " 연차는  며칠인가요 ") == {"text": "17일"}
    assert cache.exact(SCOPE, "연차는 며칠인가요?", context="a conversation") is None
    assert (cache.stats.exact, cache.stats.entries) == (1, 1)


@pytest.mark.parametrize(
    "change", [{"index": "index-2"}, {"model": "model-2"}, {"prompt_version": 4}, {"settings": {"top_k": 5}}]
)
def test_another_scope_finds_nothing(opened: Open, change: dict[str, Any]) -> None:
    cache = opened()
    cache.put(SCOPE, "Why?", {"text": "So."}, AXES[0])
    other = dataclasses.replace(SCOPE, **change)
    assert cache.exact(other, "Why?") is None
    assert cache.semantic(other, "Why?", AXES[0]) is None


def test_a_close_question_is_served_only_if_it_asks_the_same(opened: Open) -> None:
    cache = opened()
    cache.put(SCOPE, "키는 90일 뒤에 만료되나요?", {"text": "네"}, AXES[0])
    assert cache.semantic(SCOPE, "키는 180일 뒤에 만료되나요?", AXES[0]) is None
    assert cache.semantic(SCOPE, "키가 90일 뒤에 만료되나요", AXES[0]) == {"text": "네"}
    assert cache.semantic(SCOPE, "키가 90일 뒤에 만료되나요", AXES[1]) is None  # too far
    assert (cache.stats.semantic, cache.stats.rejected) == (1, 1)
    assert opened(semantic=False).semantic(SCOPE, "키가 90일 뒤에 만료되나요", AXES[0]) is None


def test_another_process_sees_new_vectors(opened: Open) -> None:
    one, other = opened(), opened()
    assert other.semantic(SCOPE, "Where is the log?", AXES[0]) is None
    one.put(SCOPE, "Where are the logs?", {"text": "There."}, AXES[0])
    assert other.semantic(SCOPE, "Where is the log?", AXES[0]) == {"text": "There."}


def test_old_answers_are_not_served_and_go(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(max_age_s=60.0)
    cache.put(SCOPE, "Why?", {"text": "So."}, AXES[0])
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert cache.exact(SCOPE, "Why?") is None
    cache.put(SCOPE, "How?", {"text": "Thus."}, AXES[1])
    assert cache.stats.entries == 1


def test_the_longest_unused_give_way(opened: Open) -> None:
    cache = opened(max_entries=3)
    for number in range(3):
        cache.put(SCOPE, f"question {number}", {"text": str(number)}, AXES[0])
    assert cache.exact(SCOPE, "question 0") is not None
    cache.put(SCOPE, "question 3", {"text": "3"}, AXES[0])
    kept = [number for number in range(4) if cache.exact(SCOPE, f"question {number}") is not None]
    assert kept == [0, 2, 3]


def test_bytes_are_bounded(opened: Open) -> None:
    cache = opened(max_bytes=10_000)
    for number in range(20):
        cache.put(SCOPE, f"question {number}", {"text": "x" * 2_000}, AXES[0])
    assert (cache.stats.entries, cache.stats.bytes <= 10_000) == (4, True)
    cache.put(SCOPE, "too big", {"text": "x" * 20_000}, AXES[0])
    assert cache.exact(SCOPE, "too big") is None
    assert cache.stats.entries == 4


def test_a_damaged_file_is_made_anew(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.db").write_bytes(b"this is no database, but it is long enough" * 100)
    cache = opened()
    cache.put(SCOPE, "Why?", {"text": "So."}, None)
    assert cache.exact(SCOPE, "Why?") == {"text": "So."}


def test_a_file_that_cannot_be_written_costs_the_cache_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file" / "answers.db", CacheConfig())
    cache.put(SCOPE, "Why?", {"text": "So."}, None)
    assert cache.exact(SCOPE, "Why?") is None
    assert cache.stats.failed >= 2


def test_many_threads_share_one_cache(opened: Open) -> None:
    cache = opened()

    def work(name: int) -> None:
        for number in range(20):
            cache.put(SCOPE, f"{name} {number}", {"text": f"{name} {number}"}, AXES[name % 4])
            assert cache.exact(SCOPE, f"{name} {number}") == {"text": f"{name} {number}"}

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache.stats.exact, cache.stats.stored, cache.stats.entries) == (160, 160, 160)


def test_rows_are_readable_json(opened: Open, tmp_path: Path) -> None:
    cache = opened()
    cache.put(SCOPE, "왜?", {"text": "그래서"}, None)
    with sqlite3.connect(tmp_path / "cache" / "answers.db") as connection:
        assert connection.execute("SELECT answer FROM answers").fetchone() == ('{"text": "그래서"}',)
