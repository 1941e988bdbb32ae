"""How results look: tables for people on stderr, plain dictionaries for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from rich.table import Table

from quantserve.core.console import console, styled
from quantserve.core.terminal import one_line
from quantserve.rag.answer import Answer
from quantserve.rag.ingest import IndexReport
from quantserve.rag.retrieve import Passage

_EXCERPT = 90
_REASONS = {
    "ko": "문서의 문장을 그대로 옮긴 답입니다",
    "en": "Quoted from the documents word for word",
}


def passage_dict(number: int, passage: Passage) -> dict[str, Any]:
    """Return one passage as JSON has it."""
    chunk = passage.chunk
    return {
        "number": number,
        "id": chunk.id,
        "file": chunk.file,
        "page": chunk.page,
        "heading": chunk.heading,
        "start": chunk.start,
        "end": chunk.end,
        "score": round(passage.score, 6),
        "similarity": None if passage.similarity is None else round(passage.similarity, 4),
        "bm25": None if passage.bm25 is None else round(passage.bm25, 4),
        "text": chunk.text,
        "also_in": list(passage.also_in),
    }


def passages_dict(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """Return passages as JSON has them, numbered from 1."""
    return [passage_dict(number, passage) for number, passage in enumerate(passages, start=1)]


def answer_dict(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON has it."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "mode": answer.mode,
        "reason": answer.reason,
        "language": answer.language,
        "model": answer.model,
        "cited": list(answer.cited),
        "attributed": answer.attributed,
        "invented_citations": answer.invented_citations,
        "cached": answer.cached,
        "judged": list(answer.judged),
        "guard": answer.guard,
        "guard_reason": answer.guard_reason,
        "condensed_question": answer.condensed_question,
        "retries": answer.retries,
        "notes": list(answer.notes),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "seconds": {name: round(value, 4) for name, value in answer.seconds.items()},
        "passages": passages_dict(answer.passages),
    }


def note_on(answer: Answer) -> str:
    """Return the line that says how the answer came about; empty for a plain generated one."""
    cached = f" Cached answer ({answer.cached})." if answer.cached else ""
    return " ".join([*(f"{note}." for note in answer.notes), _how(answer), cached]).strip()


def _how(answer: Answer) -> str:
    if answer.mode == "blocked":
        return f"A guard stopped this ({answer.guard}: {answer.guard_reason})."
    if answer.mode == "unknown":
        return f"({answer.reason})" if answer.reason else ""
    if answer.mode == "extract":
        return f"{_REASONS[answer.language]} ({answer.reason})."
    if answer.attributed:
        return "The model cited nothing; the citation was found by comparing its answer with the passages."
    if answer.invented_citations:
        return f"{answer.invented_citations} citation(s) of passages that do not exist were removed."
    return ""


def _short_name(file: str) -> str:
    """Return a name that fits a table: of a file outside the working directory, its folder and name."""
    path = PurePath(file)
    return one_line("/".join(("…", *path.parts[-2:])) if path.is_absolute() else file)


def passages_table(passages: Sequence[Passage], cited: Sequence[int] = ()) -> None:
    """Show passages with their places and scores; cited ones are marked."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("", justify="right", no_wrap=True, min_width=4)
    table.add_column("file", overflow="fold", ratio=2)
    for name in ("page", "score", "cosine", "BM25"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=3)
    for number, passage in enumerate(passages, start=1):
        chunk = passage.chunk
        table.add_row(
            f"[{number}]" if number not in cited else styled((f"[{number}]*", "bold green")),
            _short_name(chunk.file) + (f" (+{len(passage.also_in)})" if passage.also_in else ""),
            "" if chunk.page is None else str(chunk.page),
            f"{passage.score:.4f}",
            "" if passage.similarity is None else f"{passage.similarity:.3f}",
            "" if passage.bm25 is None else f"{passage.bm25:.2f}",
            " ".join(f"{chunk.heading}: {chunk.text}".removeprefix(": ").split())[:_EXCERPT],
        )
    console.print(table)


def index_report(report: IndexReport, seconds: float) -> None:
    """Show what indexing did, bad documents last."""
    state = "unchanged" if report.unchanged else "indexed"
    console.print(
        styled(
            (state, "bold green"),
            f": {report.files} files, {report.chunks} passages in {report.generation} ({seconds:.1f} s)",
        )
    )
    if not report.unchanged:
        console.print(
            f"  {len(report.added)} added, {len(report.changed)} changed, {len(report.removed)} removed; "
            f"{report.embedded} passages embedded"
        )
    for file, warnings in report.warnings.items():
        console.print(styled("  ", (one_line(file), "yellow"), f": {one_line('; '.join(warnings))}"))
    for problem in report.problems.values():
        console.print(styled("  ", ("not indexed", "red"), f" {one_line(problem)}"), soft_wrap=True)
