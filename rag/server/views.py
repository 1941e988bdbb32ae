"""Answers, passages and documents as clients see them. Pure.

Files on this machine are known by their full path; clients see a document's name and an id made from the
path, never the path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from quantserve.rag.answer import Answer
from quantserve.rag.ingest.names import key_of
from quantserve.rag.retrieve import Passage
from quantserve.rag.server.engine import ServedAnswer
from quantserve.rag.store.chunks import Chunk
from quantserve.rag.store.manifest import FileEntry
from quantserve.rag.text import normalise

_WITHDRAWN = {
    "ko": "(위의 글은 거두어들입니다. 아래만 답으로 보십시오.)",
    "en": "(The text above is withdrawn; only what follows is the answer.)",
}
_CITATIONS = re.compile(r"\s{0,8}\[\d{1,9}(?:\s{0,8}[,，]\s{0,8}\d{1,9}){0,99}\]")
_REACH = 3000
"""Characters shown before and after a passage."""


def question_hash(question: str) -> str:
    """Return what the log knows a question by."""
    return hashlib.sha256(normalise(question).encode()).hexdigest()[:32]


def document_id(key: str) -> str:
    """Return what a document is called in addresses."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def shown_name(key: str, file: str, upload_dir: Path) -> str:
    """Return the name people see: below the upload folder, or the working directory, else the last part."""
    path, folder = PurePath(key), key_of(upload_dir)
    if path.is_relative_to(folder):
        return str(path.relative_to(folder))
    return path.name if PurePath(file).is_absolute() else file


def document_view(key: str, entry: FileEntry, upload_dir: Path) -> dict[str, Any]:
    """Return one document of the list."""
    is_file = PurePath(key).is_absolute()
    return {
        "id": document_id(key),
        "name": shown_name(key, entry.file, upload_dir),
        "origin": "upload"
        if PurePath(key).is_relative_to(key_of(upload_dir))
        else "file"
        if is_file
        else "web",
        "bytes": entry.size_bytes,
        "passages": entry.chunks,
        "problem": _without_folder(entry.problem, key),
        "warnings": [*entry.warnings, *([entry.stale] if entry.stale else [])],
    }


def _without_folder(text: str, key: str) -> str:
    return text.replace(key, PurePath(key).name)


def chunk_view(chunk: Chunk, upload_dir: Path) -> dict[str, Any]:
    """Return a passage's text and place."""
    return {
        "id": chunk.id,
        "document": document_id(chunk.path),
        "file": shown_name(chunk.path, chunk.file, upload_dir),
        "page": chunk.page,
        "heading": chunk.heading,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "url": f"/passages/{chunk.id}",
    }


def source_view(number: int, passage: Passage, upload_dir: Path, *, cited: bool) -> dict[str, Any]:
    """Return a passage with its number and scores; a score that was not computed is null."""

    def rounded(value: float | None, digits: int = 4) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "number": number,
        "cited": cited,
        **chunk_view(passage.chunk, upload_dir),
        "score": round(passage.score, 6),
        "similarity": rounded(passage.similarity),
        "bm25": rounded(passage.bm25),
        "rerank": rounded(passage.rerank),
    }


def sources_view(
    passages: Sequence[Passage], upload_dir: Path, cited: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Return passages numbered from 1."""
    return [
        source_view(number, passage, upload_dir, cited=number in cited)
        for number, passage in enumerate(passages, start=1)
    ]


def rounded_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return seconds by stage as clients and the log see them."""
    return {name: round(value, 4) for name, value in seconds.items()}


def extension_view(
    answered: ServedAnswer, request_id: str, upload_dir: Path, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what stands under `quantserve` beside an answer."""
    answer = answered.answer
    return {
        "request_id": request_id,
        "text": answer.text,
        "mode": answer.mode,
        "reason": answer.reason,
        "language": answer.language,
        "model": answer.model,
        "generation": answered.generation,
        "withdrawn": answer.withdrawn,
        "cached": answer.cached,
        "judged": list(answer.judged),
        "guard": answer.guard,
        "condensed_question": answer.condensed_question,
        "attributed": answer.attributed,
        "invented_citations": answer.invented_citations,
        "seconds": rounded_seconds(answer.seconds),
        "notes": [*answer.notes, *notes],
        "sources": sources_view(answer.passages, upload_dir, answer.cited),
    }


def usage_view(answer: Answer) -> dict[str, int] | None:
    """Return OpenAI's `usage`: the model's own counts, zeros where no model was asked, None if unknown."""
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    if prompt is None and completion is None:
        if answer.mode == "generate" and not answer.cached:
            return None
        prompt = completion = 0
    prompt, completion = prompt or 0, completion or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def finish_reason(answer: Answer) -> str:
    """Return OpenAI's word for how the answer ended: content_filter where a guard stopped it."""
    return "content_filter" if answer.mode == "blocked" else "stop"


def rest_of(streamed: str, answer: Answer) -> str:
    """Return what is still to be sent so that a reader of the stream has the whole answer.

    What was sent cannot be taken back: when only citations were mended there is nothing to add; when the
    answer became another one, it follows after a blank line, and a withdrawn beginning is called that.
    """
    shown, final = streamed.strip(), answer.text
    if shown and answer.withdrawn:
        return f"\n\n{_WITHDRAWN[answer.language]}\n\n{final}"
    if not shown:
        return final
    if final.startswith(shown):
        return final[len(shown) :]
    if _CITATIONS.sub("", final).strip() == _CITATIONS.sub("", shown).strip():
        return ""
    return f"\n\n{final}"


@dataclass(frozen=True)
class Surroundings:
    """Text round a passage, empty at the page's ends."""

    before: str
    after: str


def surroundings_of(chunk: Chunk, neighbours: Sequence[Chunk]) -> Surroundings:
    """Join the chunks of the same page round `chunk`; what overlaps is shown once.

    `neighbours` are the document's chunks in reading order. `start` and `end` are offsets in the document's
    text, so two chunks overlap by exactly `end - start` characters.
    """
    same = [other for other in neighbours if other.page == chunk.page and other.id != chunk.id]
    before = ""
    begin = chunk.start
    for other in sorted((o for o in same if o.start < chunk.start), key=lambda o: -o.start):
        if len(before) >= _REACH or other.start >= begin:
            continue
        kept = other.text[: max(0, begin - other.start)]
        gap = begin > other.end
        before = kept + ("\n" if gap and before else "") + before
        if gap and not before.endswith("\n") and begin == chunk.start:
            before += "\n"
        begin = other.start
    after = ""
    end = chunk.end
    for other in sorted((o for o in same if o.end > chunk.end), key=lambda o: o.start):
        if len(after) >= _REACH or other.end <= end:
            continue
        gap = other.start > end
        after += ("\n" if gap else "") + other.text[max(0, end - other.start) :]
        end = other.end
    return Surroundings(before[-_REACH:], after[:_REACH])
