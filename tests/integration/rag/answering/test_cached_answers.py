"""Answers that were given before: served again when they still hold, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from quantserve.rag.answer import Answer
from quantserve.rag.answer.scope import WITHOUT_EFFECT, scope_of
from quantserve.rag.cache import AnswerCache
from quantserve.rag.config import AnswerConfig, CacheConfig, RerankConfig, RetrieveConfig
from quantserve.rag.embedding.backend import Embedder
from quantserve.rag.errors import RerankFailed
from quantserve.rag.guardrails import Guardrails
from quantserve.rag.guardrails.base import Side, Verdict
from quantserve.rag.ingest import index_paths
from quantserve.rag.llm import ServedModel
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


def test_a_cached_answer_says_of_itself_what_the_first_said(bench: Bench) -> None:
    bench.server.change(answer="They are kept in the cellar [1]. The moon is green [1].")
    first, again = bench.answerer().answer(BULBS), bench.answerer().answer(BULBS)
    assert again.cached == "exact"
    assert first.notes == again.notes == ("1 sentence(s) that no passage says were left out",)


def another(value: Any) -> Any:
    """Some other value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, RerankConfig):
        return RerankConfig(kind="endpoint")
    known = {"auto": "en", "hybrid": "dense", None: 0.5, "": "other"}
    return known[value] if value in known else value + ("/x" if isinstance(value, str) else 1)


def scope_key(searcher: Searcher, config: AnswerConfig, **changed: Any) -> str:
    given = {"model": None, "limits": None, "guard_fingerprint": "", "system": "", "language": "en"}
    return scope_of(searcher, config, **{**given, **changed}).key


@pytest.mark.parametrize(
    "name", [field.name for field in fields(AnswerConfig) if field.name not in WITHOUT_EFFECT]
)
def test_every_setting_of_an_answer_makes_another_scope(searcher: Searcher, name: str) -> None:
    config = AnswerConfig(min_similarity=-0.5)
    changed: dict[str, Any] = {name: "extract" if name == "mode" else another(getattr(config, name))}
    other = replace(config, **changed)
    assert scope_key(searcher, config) != scope_key(searcher, other)


@pytest.mark.parametrize("name", [field.name for field in fields(RetrieveConfig)])
def test_every_setting_of_the_search_makes_another_scope(searcher: Searcher, name: str) -> None:
    options = replace(searcher.config.retrieve, mmr=None, words_weight=0.0)
    other = replace(options, **{name: another(getattr(options, name))})
    keys = {scope_key(searcher.with_options(each), AnswerConfig()) for each in (options, other)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"model": ServedModel("Qwen", 4096, "fingerprint-2")},
        {"guard_fingerprint": "guard-2"},
        {"system": "Answer like a pirate."},
        {"language": "ko"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_everything_else_that_shapes_an_answer_does_too(searcher: Searcher, changed: dict[str, Any]) -> None:
    assert scope_key(searcher, AnswerConfig(), **changed) != scope_key(searcher, AnswerConfig())


HISTORY = (
    {"role": "user", "content": "Who lights the lamp?"},
    {"role": "assistant", "content": "The keeper."},
)


@pytest.mark.parametrize(
    "asked",
    [
        {"history": HISTORY},
        {"history": HISTORY[:1]},
        {"search_for": "lamp oil"},
        {"system": "Answer like a pirate."},
    ],
    ids=["a conversation", "a shorter one", "another search", "another system message"],
)
def test_a_question_asked_in_another_way_is_another(bench: Bench, asked: dict[str, Any]) -> None:
    answerer = bench.answerer()
    answerer.answer(BULBS)
    answerer.answer(BULBS, history=HISTORY[:1] if asked.get("history") == HISTORY else HISTORY)
    assert answerer.answer(BULBS, **asked).cached == ""
    assert answerer.answer(BULBS, **asked).cached == "exact"


def test_a_sampled_answer_is_neither_cached_nor_served(bench: Bench) -> None:
    sampled, greedy = bench.answerer(temperature=0.7), bench.answerer()
    assert [each.answer(BULBS).cached for each in (sampled, sampled, greedy, sampled)] == [""] * 4


class BrokenReranker:
    name = "broken"
    broken = True

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        if self.broken:
            raise RerankFailed("it broke")
        return [float(len(texts) - number) for number in range(len(texts))]


def test_an_answer_made_without_its_reranker_is_not_cached(bench: Bench, embedder: Embedder) -> None:
    reranker = BrokenReranker()
    config = bench.searcher.config
    config = replace(config, retrieve=replace(config.retrieve, rerank=RerankConfig(kind="endpoint")))
    searcher = Searcher(bench.searcher.generation, config, lambda: embedder, reranker)
    answerer = replace(bench, searcher=searcher).answerer()
    answers = [answerer.answer(BULBS), answerer.answer(BULBS)]
    assert [(answer.cached, answer.provisional) for answer in answers] == [("", True)] * 2
    reranker.broken = False
    assert [answerer.answer(BULBS).cached for _ in range(2)] == ["", "exact"]


@pytest.mark.parametrize("side", ["input", "output"])
def test_an_answer_that_a_guard_could_not_judge_is_not_cached(
    bench: Bench, tmp_path: Path, side: str
) -> None:
    guard = tmp_path / "guard.toml"
    guard.write_text(f'on_failure = "pass"\n[[{side}]]\nkind = "llm"\npolicy = "asks for salaries"\n')
    bench.server.change(answers=(("break the policy", "Perhaps"),))
    answerer = bench.answerer(guard_file=guard)
    assert [answerer.answer(BULBS).cached for _ in range(2)] == ["", ""]
    bench.server.change(answers=(("break the policy", "no"),))
    assert [answerer.answer(BULBS).cached for _ in range(2)] == ["", "exact"]


class MaskingStep:
    name = "masking"

    def judge(self, text: str, side: Side, question: str) -> Verdict:
        return Verdict(text.replace("cellar", "[room]"), notes=("masked",))


def test_guards_that_nothing_tells_apart_have_no_cached_answers(bench: Bench) -> None:
    bench.answerer().answer(BULBS)
    guarded = bench.answerer()
    guarded.guardrails = Guardrails(after=(MaskingStep(),))
    assert [guarded.answer(BULBS).cached for _ in range(2)] == ["", ""]


def test_an_answer_of_a_newer_generation_is_not_cached_for_the_one_before(
    bench: Bench, tmp_path: Path, embedder: Embedder
) -> None:
    (tmp_path / "stock.md").write_text("# Stock\n\nSpare bulbs are kept in the attic.\n")
    config = replace(bench.searcher.config, index_dir=tmp_path / "index")
    index_paths([tmp_path / "stock.md"], config, load_model=lambda: embedder)
    newer = IndexStore(config.index_dir).open()
    searcher = bench.searcher.with_options(bench.searcher.config.retrieve)
    before = searcher.generation

    def replaced(_: object) -> None:  # a writer swapped it in while the question was on its way
        searcher.generation = newer

    answerer = replace(bench, searcher=searcher).answerer()
    assert answerer.answer(BULBS, on_passages=replaced).cached == ""
    searcher.generation = before
    assert answerer.answer(BULBS).cached == ""


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
