"""Where does the time of a RAG answer go? Each stage apart, at several concurrencies and corpus sizes.

    quantserve benchmarks rag --base-url http://127.0.0.1:8000/v1 --index run/index

It imports rag and asks rag's own answerer, which says the seconds of each stage. Every
question of a cell is new to its caches; at the end the last ones are asked again, to see what a cache saves.
"""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from quantserve.benchmarks.errors import BadOption
from quantserve.benchmarks.measure.bench import ScenarioOptions, begin
from quantserve.benchmarks.measure.sampling import Sample, Sampler
from quantserve.benchmarks.measure.store import MeasuredCell, Run
from quantserve.benchmarks.records import Failure, LoadCell, Record
from quantserve.benchmarks.report.outcome import finish
from quantserve.benchmarks.scenarios.rag.corpus import measure_corpus
from quantserve.benchmarks.scenarios.rag.stages import STAGE_OF, sections
from quantserve.benchmarks.servers import Server
from quantserve.core.console import console
from quantserve.core.home import generated, shipped
from quantserve.rag.answer.answerer import Answerer
from quantserve.rag.config import AnswerConfig, RagConfig, RerankConfig
from quantserve.rag.errors import ServerUnavailable
from quantserve.rag.llm import ModelServer
from quantserve.rag.retrieve import Searcher
from quantserve.rag.trust.calibration import Calibration

INDEX = generated("run/index")
QUESTIONS = shipped("samples") / "questions.jsonl"


@dataclasses.dataclass(frozen=True)
class RagOptions:
    """What is asked, and of how large a corpus."""

    index: Path = INDEX
    questions: Path = QUESTIONS
    """JSON lines with a question each; those that say that nothing answers them are left out."""
    rerank_model: str = ""
    """A cross-encoder that orders the passages anew; empty: none does."""
    users: tuple[int, ...] = (1, 4, 16)
    questions_per_user: int = 4
    least_questions: int = 24
    """Of each repeat; with three p95 has the 72 answers it takes."""
    max_tokens: int = 64
    corpus_sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    dimension: int = 384
    searches: int = 400
    """Of each corpus size; p99 takes 368."""


FULL = RagOptions()
QUICK = RagOptions(
    users=(1, 4),
    questions_per_user=2,
    least_questions=10,
    max_tokens=32,
    corpus_sizes=(1_000, 10_000, 100_000),
)


def measure(server: Server, options: ScenarioOptions, how: RagOptions) -> dict[str, Any]:
    """Measure stages and corpus sizes and write the report; return the metrics."""
    config = dataclasses.replace(RagConfig(), index_dir=how.index)
    if how.rerank_model:
        rerank = RerankConfig(kind="cross-encoder", model=how.rerank_model, timeout_s=60.0)
        config = dataclasses.replace(config, retrieve=dataclasses.replace(config.retrieve, rerank=rerank))
    answering = dataclasses.replace(
        config.answer,
        base_url=server.base_url,
        model=server.model,
        max_tokens=how.max_tokens,
        mode="generate",
        min_similarity=0.0,
    )
    if server.api_key:
        answering = dataclasses.replace(answering, api_key=server.api_key)
    texts = _questions(how.questions)
    details = {
        "index": how.index.name,
        "chunks": Searcher.open(config).generation.manifest.chunks,
        "max_tokens": how.max_tokens,
        "reranker": Path(how.rerank_model).name,
    }
    bench = begin("rag", "Where the time of an answer goes", options, details)
    seed = bench.options.seed or 0
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="quantserve-bench-") as folder:
        for repeat in range(options.repeats):
            for users in how.users:
                count = max(how.least_questions, users * how.questions_per_user)
                chance.shuffle(texts)
                asked, left = texts[:count], texts[count:]
                if len(asked) < count or not left:
                    raise BadOption(
                        f"{len(texts)} questions are too few for {users} at once",
                        mend=f"{count + 1} are needed: --questions names a longer file, --users fewer",
                    )
                console.print(f"{users} at once: {count} questions", style="dim")
                cache = dataclasses.replace(answering.cache, path=Path(folder) / f"{users}-{repeat}.db")
                play = _Player(config, dataclasses.replace(answering, cache=cache), bench.epoch_s)
                for text in left[:2]:
                    play.ask(text, "warmup", 0)
                play.cell(bench.run, server, asked, users, repeat, seed)
        with bench.watching("answers from the cache", server):
            cached = [play.again(text) for text in asked]
    bench.run.put_extra({"cached_s": [seconds for seconds in cached if seconds is not None]})
    with bench.watching("search by corpus size", server):
        bench.run.put_extra({"corpus": _corpus(how, seed)})
    return finish(bench.run, sections)


def _questions(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [str(row["question"]) for row in rows if row.get("evidence", True)]


class _Player:
    """Asks questions from several threads, as rag's server does; model, index and caches are its own."""

    def __init__(self, config: RagConfig, answering: AnswerConfig, epoch_s: float) -> None:
        searcher, server = Searcher.open(config), ModelServer(answering)
        # no limit for "I do not know": every question is to be answered
        self._answerer = Answerer(searcher, server, answering, calibration=Calibration())
        self._epoch_s = epoch_s

    def again(self, question: str) -> float | None:
        """Seconds until a cached answer comes; None where it is not cached."""
        before = perf_counter()
        cached = self._answerer.answer(question).cached
        return perf_counter() - before if cached else None

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
                record = self.ask(item[1], name, item[0])
                with lock:
                    found.append(record)

        threads = [threading.Thread(target=user) for _ in range(users)]
        sampler = Sampler(server.base_url, server.pids, server.api_key)
        samples: list[Sample] = [sampler.local(self._epoch_s)]
        began_s = perf_counter() - self._epoch_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        samples.append(sampler.local(self._epoch_s))
        cell = LoadCell(
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
            processes=0,
            seed=seed,
            # Questions share the system prompt and often passages: a warm prefix cache is the use case.
            single_turn=False,
            server=server.info,
        )
        run.add(MeasuredCell(cell, sorted(found, key=lambda r: r.sent_s), samples, []))

    def ask(self, question: str, cell: str, task: int) -> Record:
        """Ask one question and return what was seen of its answer."""
        stamps: list[float] = []
        failure, detail, stages, prompt_tokens, completion_tokens = None, "", {}, None, None
        begun = perf_counter()
        try:
            answer = self._answerer.answer(question, on_text=lambda _: stamps.append(perf_counter()))
            stages = _stages(answer.seconds)
            prompt_tokens, completion_tokens = answer.prompt_tokens, answer.completion_tokens
            if not stamps and "ttft" in answer.seconds:
                stamps.append(perf_counter())  # what was generated is not shown: a quotation or refusal is
            if not stamps:
                failure, detail = Failure.EMPTY, answer.reason or "no token arrived"
        except ServerUnavailable as error:
            failure, detail = Failure.DISCONNECTED, str(error)
        epoch = self._epoch_s
        return Record(
            cell=cell,
            task=task,
            turn=0,
            intended_s=begun - epoch,
            sent_s=begun - epoch,
            first_byte_s=stamps[0] - epoch if stamps else None,
            token_s=[stamp - epoch for stamp in stamps],
            done_s=perf_counter() - epoch,
            failure=failure,
            detail=detail,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            phase="warmup" if cell == "warmup" else "measure",
            extra={"stages": stages},
        )


def _stages(seconds: Mapping[str, float]) -> dict[str, float]:
    """The answerer's seconds by the names of the report, first token and generation apart. Pure."""
    found = {name: seconds[stage] for stage, name in STAGE_OF.items() if stage in seconds}
    if "ttft" in seconds:
        found["first token"] = seconds["ttft"]
        found["generation"] = seconds["generate"] - seconds["ttft"]
    return found


def _corpus(how: RagOptions, seed: int) -> list[dict[str, Any]]:
    """Search made corpora of several sizes by rag's own index."""
    rows = []
    for size in how.corpus_sizes:
        console.print(f"search in {size:,} vectors", style="dim")
        rows.append(measure_corpus(size, how.dimension, how.searches, seed))
    return rows
