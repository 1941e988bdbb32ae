"""Answers that were given before: served again when they still hold, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantserve.rag.answer import Answer
from quantserve.rag.cache import AnswerCache
from quantserve.rag.config import CacheConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.ingest import index_paths
from quantserve.rag.retrieve import Searcher
from quantserve.rag.store.generation import IndexStore
from quantserve.rag.trust.calibration import Calibration
from tests.integration.rag.answering.bench import BULBS, CELLAR, Bench


def test_a_question_is_answered_once_and_again_from_the_cache(bench: Bench) -> None:
    streamed: list[str] = []
    first = bench.answerer().answer(BULBS, on_text=streamed.append)
    again = bench.answerer().answer(f"  {BULBS} ", on_text=streamed.append)
    assert (first.cached, again.cached, again.text, again.cited) == ("", "exact", CELLAR, (1,))
    assert again.passages == first.passages
    assert "".join(streamed) == CELLAR * 2
    assert bench.asked == 1
    # a server without /tokenize is asked for it once, not for every passage
    assert sum(request.path == "/tokenize" for request in bench.server.requests) == 1


def test_the_same_in_other_words_is_served_and_a_near_miss_is_not(bench: Bench) -> None:
    answerer = bench.answerer(cache=CacheConfig(path=bench.cache_file, semantic=True))
    answerer.answer("입사 3년 차 직원의 연차는 며칠인가요?")
    assert answerer.answer("입사 3년 차 직원은 연차가 며칠이에요?").cached == "semantic"
    assert answerer.answer("입사 5년 차 직원의 연차는 며칠인가요?").cached == ""
    exact_only = bench.answerer()  # as it is by default
    assert exact_only.answer("입사 3년 차 직원의 연차가 며칠이죠?").cached == ""
    assert answerer.cache is not None
    stats = answerer.cache.stats
    assert (stats.semantic, stats.rejected >= 1, stats.missed) == (1, True, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: bench.server.change(root="/artifacts/model/w4-2"),
        lambda bench: {"max_tokens": 50},
        lambda bench: {"extract_sentences": 1},
        lambda bench: {"cache": CacheConfig(enabled=False)},
    ],
    ids=["another artifact under the same name", "longest answer", "another setting", "cache off"],
)
def test_nothing_stale_is_served(bench: Bench, change: Callable[[Bench], dict[str, Any] | None]) -> None:
    bench.server.change(root="/artifacts/model/w4-1")
    bench.answerer().answer(BULBS)
    assert bench.answerer(**(change(bench) or {})).answer(BULBS).cached == ""
    assert bench.asked == 2


def test_another_generation_of_the_index_is_asked_anew(
    bench: Bench, tmp_path: Path, embedder: Embedder
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "stock.md").write_text("# Stock\n\nSpare bulbs are kept in the cellar.\n")
    config = replace(bench.searcher.config, index_dir=tmp_path / "index")

    def opened() -> Bench:
        index_paths([folder], config, load_model=lambda: embedder)
        store = IndexStore(config.index_dir)
        return replace(bench, searcher=Searcher(store.open(), config, load_model=lambda: embedder))

    opened().answerer().answer(BULBS)
    assert opened().answerer().answer(BULBS).cached == "exact"
    (folder / "stock.md").write_text("# Stock\n\nSpare bulbs are kept in the attic.\n")
    assert opened().answerer().answer(BULBS).cached == ""


def test_200_questions_at_once_are_answered_each_with_its_own(
    bench: Bench, tmp_path: Path, embedder: Embedder
) -> None:
    words = [f"word{number}" for number in range(200)]
    folder = tmp_path / "documents"
    folder.mkdir()
    lines = [f"The entry {word} stands on page {number} of the log.\n\n" for number, word in enumerate(words)]
    (folder / "log.txt").write_text("".join(lines))
    config = replace(bench.searcher.config, index_dir=tmp_path / "index")
    index_paths([folder], config, load_model=lambda: embedder)
    searcher = Searcher(IndexStore(config.index_dir).open(), config, load_model=lambda: embedder)
    bench = replace(bench, searcher=searcher)
    bench.server.change(
        answers=tuple(
            (f"entry {word}?", f"The entry {word} stands on page {number} of the log.")
            for number, word in enumerate(words)
        ),
        inter_token_s=0.005,
    )
    answerer = bench.answerer(mode="generate", calibration=Calibration(), min_similarity=0.0)
    gate = threading.Barrier(len(words))

    def ask(word: str) -> tuple[Answer, str]:
        streamed: list[str] = []
        gate.wait(timeout=60)
        answer = answerer.answer(
            f"On which page of the log stands the entry {word}?", on_text=streamed.append
        )
        return answer, "".join(streamed)

    with ThreadPoolExecutor(len(words)) as pool:
        answers = list(pool.map(ask, words))
    for number, (answer, streamed) in enumerate(answers):
        assert answer.text == streamed
        assert answer.text.startswith(f"The entry word{number} stands on page {number} of the log. [")
        assert answer.passages
    assert bench.asked == 200
    assert isinstance(answerer.cache, AnswerCache)
    stats = answerer.cache.stats
    assert (stats.stored, stats.entries, stats.failed) == (200, 200, 0)
