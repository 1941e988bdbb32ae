"""Where does the time of a RAG answer go? Each stage apart, at several concurrencies and corpus sizes.

    python -m benchmarks rag --base-url http://127.0.0.1:8000/v1 --index run/index

The only program that imports rag: it calls the stages one by one, as rag.answer does, and stamps between.
"""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.cells import Cell
from benchmarks.metrics.compute import distribution
from benchmarks.observe.sampler import Sample, Sampler
from benchmarks.programs.common import RunOptions, begin, finish
from benchmarks.programs.corpus import measure_corpus
from benchmarks.records import Failure, Record
from benchmarks.report import plots, show
from benchmarks.report.table import Section, Table
from benchmarks.servers import Server
from benchmarks.store import Measured, Run
from benchmarks.workload.files import BILINGUAL
from core.console import console
from rag.answer.prompt import build_prompt
from rag.config import AnswerConfig, RagConfig
from rag.errors import ServerUnavailable
from rag.llm import ModelServer, StreamFacts
from rag.retrieve import Passage, Searcher
from rag.text import language_of, normalise

STAGES = ("embed", "vector search", "word search", "fuse", "prompt", "first token", "generation")


@dataclasses.dataclass(frozen=True)
class RagOptions:
    """What is asked, and of how large a corpus."""

    index: Path = Path("run/index")
    questions: Path | None = None
    """JSON lines with a question each; None: our bilingual set."""
    users: tuple[int, ...] = (1, 4, 16)
    questions_per_user: int = 8
    least_questions: int = 20
    max_tokens: int = 64
    corpus_sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    dimension: int = 384
    searches: int = 100


QUICK = RagOptions(
    users=(1, 4),
    questions_per_user=2,
    least_questions=10,
    max_tokens=32,
    corpus_sizes=(1_000, 10_000, 100_000),
)


def measure(server: Server, options: RunOptions, how: RagOptions) -> dict[str, Any]:
    """Measure stages and corpus sizes and write the report; return the metrics."""
    options = options.settled()
    config = dataclasses.replace(RagConfig(), index_dir=how.index)
    searcher = Searcher.open(config)
    answering = dataclasses.replace(
        config.answer, base_url=server.base_url, model=server.model, max_tokens=how.max_tokens
    )
    if server.api_key:
        answering = dataclasses.replace(answering, api_key=server.api_key)
    texts = _questions(how.questions or BILINGUAL)
    details = {
        "index": how.index.name,
        "chunks": searcher.generation.manifest.chunks,
        "max_tokens": how.max_tokens,
    }
    run, bench = begin("rag", "Where the time of an answer goes", options, details)
    play = _Player(searcher, answering, config, bench.epoch_s)
    for text in texts[:2]:  # the two languages load different parts
        play.warm_up(text)
    chance = random.Random(options.seed)
    for repeat in range(options.repeats):
        for users in how.users:
            count = max(how.least_questions, users * how.questions_per_user)
            asked = [chance.choice(texts) for _ in range(count)]
            console.print(f"{users} at once: {count} questions", style="dim")
            play.cell(run, server, asked, users, repeat, options.seed or 0)
    run.put_extra({"corpus": _corpus(how, options.seed or 0)})
    return finish(run, sections)


def _questions(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [str(row["question"]) for row in rows]


class _Player:
    """Asks questions stage by stage, from several threads as rag's server does."""

    def __init__(
        self, searcher: Searcher, answering: AnswerConfig, config: RagConfig, epoch_s: float
    ) -> None:
        self._searcher, self._config, self._answering = searcher, config, answering
        self._server = ModelServer(answering)
        self._epoch_s = epoch_s

    def warm_up(self, question: str) -> None:
        """Load model and index, and let the server see one prompt."""
        self._ask(question, "warmup", 0)

    def cell(
        self, run: Run, server: Server, questions: Sequence[str], users: int, repeat: int, seed: int
    ) -> None:
        """Ask all, `users` at a time, and store what was seen."""
        queue = iter(enumerate(questions))
        lock = threading.Lock()
        found: list[Record] = []
        name = f"u{users:03d}r{repeat}"

        def user() -> None:
            while True:
                with lock:
                    item = next(queue, None)
                if item is None:
                    return
                record = self._ask(item[1], name, item[0])
                with lock:
                    found.append(record)

        threads = [threading.Thread(target=user) for _ in range(users)]
        sampler = Sampler(server.base_url, server.pid, server.api_key)
        samples: list[Sample] = [sampler.local(self._epoch_s)]
        began_s = perf_counter() - self._epoch_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        samples.append(sampler.local(self._epoch_s))
        cell = Cell(
            id=name,
            subject="rag",
            workload="questions",
            load=f"closed:{users}",
            repeat=repeat,
            users=users,
            rate_per_s=None,
            started_s=began_s,
            ended_s=perf_counter() - self._epoch_s,
            client_cpu_share=None,
            processes=1,
            seed=seed,
            # Questions share the system prompt and often passages: a warm prefix cache is the use case.
            single_turn=False,
            server=server.info,
        )
        run.add(Measured(cell, sorted(found, key=lambda r: r.sent_s), samples, []))

    def _ask(self, question: str, cell: str, task: int) -> Record:
        stages: dict[str, float] = {}

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            before = perf_counter()
            yield
            stages[name] = perf_counter() - before

        begun = perf_counter()
        options, generation = self._config.retrieve, self._searcher.generation
        text = normalise(question)
        with stage("embed"):
            vector = self._searcher.embedder.embed_queries([text])[0]
        with stage("vector search"):
            dense = generation.search_vectors(vector, options.candidates)
        with stage("word search"):
            words = generation.words.search(text, options.candidates)
        with stage("fuse"):
            ranked = self._searcher.fuse(vector, dense, words, options)[: options.top_k]
            chunks = generation.chunks.rows([row for row, _ in ranked])
        passages = [
            Passage(chunk, score, None, None) for (_, score), chunk in zip(ranked, chunks, strict=True)
        ]
        with stage("prompt"):
            prompt = build_prompt(text, passages, language_of(text), self._answering.context_tokens)
        sent = perf_counter()
        stamps: list[float] = []
        facts = StreamFacts()
        failure, detail = None, ""
        try:
            stamps.extend(perf_counter() for _ in self._server.stream(prompt.messages, facts))
        except ServerUnavailable as error:
            failure, detail = Failure.DISCONNECTED, str(error)
        done = perf_counter()
        if stamps:
            stages["first token"], stages["generation"] = stamps[0] - sent, done - stamps[0]
        elif failure is None:
            failure, detail = Failure.EMPTY, "no token arrived"
        epoch = self._epoch_s
        return Record(
            cell=cell,
            task=task,
            turn=0,
            intended_s=begun - epoch,
            sent_s=begun - epoch,
            first_byte_s=stamps[0] - epoch if stamps else None,
            token_s=[stamp - epoch for stamp in stamps],
            done_s=done - epoch,
            failure=failure,
            detail=detail,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            finish_reason=facts.finish_reason,
            phase="warmup" if cell == "warmup" else "measure",
            extra={"stages": stages},
        )


def _corpus(how: RagOptions, seed: int) -> list[dict[str, Any]]:
    """Search made corpora of several sizes by rag's own index."""
    rows = []
    for size in how.corpus_sizes:
        console.print(f"search in {size:,} vectors", style="dim")
        rows.append(measure_corpus(size, how.dimension, how.searches, seed))
    return rows


def sections(run: Run, metrics: dict[str, Any], folder: Path) -> list[Section]:
    """Stages by concurrency, search by corpus size."""
    del metrics
    by_users: dict[int, list[dict[str, float]]] = {}
    for measured in run.measured():
        stages = [r.extra["stages"] for r in measured.records if r.ok and r.extra and "stages" in r.extra]
        by_users.setdefault(measured.cell.users or 1, []).extend(stages)
    rows: list[list[str]] = []
    medians: dict[str, dict[str, float]] = {}
    for users, answers in sorted(by_users.items()):
        whole = sum(sum(answer.values()) for answer in answers)
        medians[f"{users} at once"] = {}
        for name in STAGES:
            values = [answer[name] for answer in answers if name in answer]
            if not values:
                continue
            found = distribution([values])
            medians[f"{users} at once"][name] = float(np.median(values)) * 1000
            rows.append(
                [
                    f"{users} at once: {name}",
                    show.ms(found["p50"]),
                    show.ms(found["p95"]),
                    show.percent(sum(values) / whole if whole else None),
                ]
            )
    plots.stacked("Median time of each stage", "milliseconds", medians, folder / "stages.png")
    table = Table("Stages", ["stage", "p50 ms", "p95 ms", "share of all time"], rows)
    out = [
        Section(
            "Where the time goes",
            "TTFT and E2E below count from the question, so they include retrieval.",
            [table],
            [("stages.png", "Stages of an answer, medians stacked.")],
        )
    ]
    corpus = run.extra().get("corpus") or []
    if corpus:
        sizes = [
            [f"{row['vectors']:,}", *_search_times(row["seconds"]), show.mebibytes(row["bytes"])]
            for row in corpus
        ]
        columns = ["vectors", "p50 ms", "p95 ms", "p99 ms", "MiB"]
        text = (
            "Search for ten neighbours over made 384-dimensional vectors, one at a time: exact up to "
            "100,000, inverted lists above."
        )
        out.append(Section("Search by corpus size", text, [Table("Corpus", columns, sizes)]))
    return out


def _search_times(seconds: Sequence[float]) -> list[str]:
    found = distribution([seconds])
    return [show.ms(found["p50"]), show.ms(found["p95"]), show.ms(found["p99"])]
