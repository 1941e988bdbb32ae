"""`rag eval`: how well questions find their passages, and how true the answers are."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantserve.core.console import console, emit_json, progress
from quantserve.core.home import generated
from quantserve.core.options import spread
from quantserve.rag.commands import parameters as p
from quantserve.rag.commands.answering import CacheJudgeOption, CacheJudgeScoreOption, WritingOptions
from quantserve.rag.commands.ask import answerer
from quantserve.rag.config import RagConfig, RerankConfig, RerankKind

if TYPE_CHECKING:
    from quantserve.rag.evaluate.answers import AnswersSummary
    from quantserve.rag.evaluate.judge import Judge
    from quantserve.rag.evaluate.questions import Question
    from quantserve.rag.trust.calibration import Entry

QUESTIONS = Path("samples/questions.jsonl")
REPORT = generated("runs/rag-eval")


@spread
def evaluate(
    questions: Annotated[Path, typer.Argument(help="JSON lines, as samples/README.md says.")] = QUESTIONS,
    report: Annotated[Path, typer.Option(help="Folder for report.html and evaluation.json.")] = REPORT,
    answers: Annotated[int, typer.Option(min=0, help="Answer and judge so many of the questions, too.")] = 24,
    judge_url: Annotated[
        str, typer.Option(help="OpenAI-compatible server that judges; none: shared words are counted.")
    ] = "",
    judge_model: Annotated[str, typer.Option(help="The model that judges; the first one if not given.")] = "",
    judge_key: Annotated[str, typer.Option(envvar="JUDGE_API_KEY", help="Its key.")] = "not-needed",
    rerank: Annotated[str, typer.Option(help="off, cross-encoder or endpoint.")] = "off",
    rerank_model: Annotated[str, typer.Option(help="The cross-encoder's directory or name.")] = "",
    rerank_url: Annotated[
        str, typer.Option(help="The server that reranks.")
    ] = p.DEFAULTS.retrieve.rerank.base_url,
    calibrate: Annotated[
        bool, typer.Option(help='Write the limits for "I do not know" that answers go by from then on.')
    ] = True,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Limits that hold for other documents too: none of BM25's score."),
    ] = False,
    *,
    question_pairs: Annotated[
        Path | None,
        typer.Option(
            help="Measure the semantic cache's judge on these pairs of questions, and nothing else."
        ),
    ] = None,
    cache_judge: CacheJudgeOption = p.DEFAULTS.answer.cache.judge,
    cache_judge_score: CacheJudgeScoreOption = p.DEFAULTS.answer.cache.judge_min_score,
    writing: WritingOptions,
    index_dir: p.IndexDirOption = p.DEFAULTS.index_dir,
    embedding_model: p.ModelOption = p.DEFAULTS.embedding.model,
    backend: p.BackendOption = p.DEFAULTS.embedding.backend,
    json_output: p.JsonOption = False,
) -> None:
    """Measure retrieval by mode over a question file, judge answers, calibrate "I do not know"."""
    if question_pairs is not None:
        cache = replace(p.DEFAULTS.answer.cache, judge=cache_judge, judge_min_score=cache_judge_score)
        answering = replace(writing.answer_config(), cache=cache)
        config = p.rag_config(index_dir, embedding_model, backend, answer=answering)
        _measure_pairs(question_pairs, config, json_output=json_output)
        return
    from quantserve.core.files import sha256_file, write_json, write_text
    from quantserve.rag.evaluate.page import page
    from quantserve.rag.evaluate.questions import load_questions
    from quantserve.rag.evaluate.run import evaluate as run
    from quantserve.rag.evaluate.run import evaluated_modes
    from quantserve.rag.evaluate.show import tables
    from quantserve.rag.retrieve import Searcher

    asked = load_questions(questions)
    reranker = RerankConfig(
        kind=p.choice("--rerank", rerank, RerankKind),
        model=rerank_model,
        base_url=rerank_url,
        timeout_s=60.0,  # quality is measured here; the time a search may take is another matter
    )
    config = p.rag_config(
        index_dir,
        embedding_model,
        backend,
        replace(p.DEFAULTS.retrieve, rerank=reranker),
        writing.answer_config(),
    )
    searcher = Searcher.open(config)
    modes = evaluated_modes(searcher)
    with progress() as bar:
        task = bar.add_task("searching", total=len(asked) * len(modes))
        advance = functools.partial(bar.advance, task)
        found = run(asked, searcher, modes, sha256_file(questions), advance, portable=portable)
    if calibrate and found.calibrations:
        _write_limits(found.calibrations, config, report)
    if answers:
        judge = _judge(judge_url, judge_key, judge_model)
        found = replace(found, answers=_answers(asked, answers, config, judge))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(report / "report.html", page(found, created), private=True)
    write_json(report / "evaluation.json", {"created": created, **found.as_json()}, private=True)
    for table in tables(found):
        console.print(table)
        console.print()
    for note in found.notes:
        console.print(note, style="yellow", markup=False)
    console.print(f"report: {report / 'report.html'}", markup=False)
    if json_output:
        emit_json({"report": str(report / "report.html"), **found.as_json()})


def _measure_pairs(path: Path, config: RagConfig, *, json_output: bool) -> None:
    """Measure who may confirm a semantic hit, on pairs of a file."""
    from quantserve.rag.cache import judge_of
    from quantserve.rag.cache.calibration import calibration_pairs, load_pairs
    from quantserve.rag.embedding.backend import load_embedder, resolve
    from quantserve.rag.evaluate.pairs import measure_pairs, table
    from quantserve.rag.llm import ModelServer

    pairs = load_pairs(path)
    asks = not config.answer.cache.judge and config.answer.mode != "extract"
    served = ModelServer(config.answer).describe() if asks else None
    judge = judge_of(config.answer, served)
    embedder = load_embedder(resolve(config.embedding))
    with progress() as bar:
        task = bar.add_task("judging", total=len(pairs) + len(calibration_pairs()))
        advance = functools.partial(bar.advance, task)
        figures = measure_pairs(pairs, embedder, judge, config.answer.cache, advance)
    console.print(table(figures))
    if figures.verdict:
        console.print(figures.verdict, markup=False)
    if json_output:
        emit_json(figures.as_json())


def _write_limits(entries: tuple[Entry, ...], config: RagConfig, report: Path) -> None:
    """Write them beside a local index, which answers read; else into the report's folder."""
    from quantserve.rag.store.base import LOCAL
    from quantserve.rag.trust.calibration import (
        CALIBRATION_FILE,
        Calibration,
        load_calibration,
        write_calibration,
    )

    path = (config.index_dir if config.store == LOCAL else report) / CALIBRATION_FILE
    measured = load_calibration(path) if path.is_file() else Calibration()
    for entry in entries:
        measured = measured.with_entry(entry)
    write_calibration(path, measured)
    how = "" if config.store == LOCAL else "; name it to those that answer: --calibration or RAG_CALIBRATION"
    console.print(f"limits: {path}{how}", markup=False)


def _judge(url: str, key: str, model: str) -> Judge:
    from quantserve.rag.evaluate.judge import LlmJudge, OverlapJudge

    return LlmJudge(url, key, model) if url else OverlapJudge()


def _answers(asked: list[Question], count: int, config: RagConfig, judge: Judge) -> AnswersSummary:
    """Answer a sample by the model server; where there is none, by quoting, and say so."""
    from quantserve.rag.errors import ServerUnavailable
    from quantserve.rag.evaluate.answers import sample, score_answers, summarise
    from quantserve.rag.llm import ModelServer

    if config.answer.mode != "extract":
        try:
            ModelServer(config.answer).describe()
        except ServerUnavailable as error:
            console.print(f"answers are quoted, not generated: {error}", markup=False)
            config = replace(config, answer=replace(config.answer, mode="extract"))
    chosen = sample(asked, count)
    ask = answerer(config)
    with progress() as bar:
        task = bar.add_task("answering", total=len(chosen))
        scores = score_answers(
            chosen, lambda question: ask.answer(question), judge, lambda: bar.advance(task)
        )
    return summarise(scores, judge)
