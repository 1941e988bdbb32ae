"""One indexing job in a process of its own: a crash of a parser is a failed job, not a dead server.

    python -m quantserve.rag.server.indexing.worker < job.json

The job comes on stdin as JSON; progress and the result go to stdout, one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from quantserve.core.errors import QuantserveError
from quantserve.core.files import Locked
from quantserve.rag.config import EmbeddingConfig, FetchConfig, RagConfig, SplitConfig
from quantserve.rag.ingest import IndexReport, Listener, index_paths, remove_documents
from quantserve.rag.ingest.names import path_of
from quantserve.rag.store.base import open_store

_NICE = 10
"""Answers come before indexing."""
_TRY_AGAIN_S = 0.5


class JobSpec(BaseModel):
    """What a worker is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["add", "remove"]
    keys: tuple[str, ...]
    """Documents to index or to remove, by the index's keys."""
    upload_dir: str
    index_dir: str
    store: str
    embedding: EmbeddingConfig
    lock_wait_s: float


def report_event(event: str, **fields: Any) -> None:
    """Write one line for the server."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def configuration(spec: JobSpec) -> RagConfig:
    """Return the configuration: documents are split as the index's others were."""
    config = RagConfig(
        index_dir=Path(spec.index_dir), store=spec.store, embedding=spec.embedding, fetch=FetchConfig()
    )
    current = open_store(config).current()
    if current is None:
        return config
    settings = current.manifest.settings
    size, overlap = settings.chunk_size, settings.chunk_overlap
    if settings.splitter == "sentence":
        split = SplitConfig("sentence", chunk_tokens=size, overlap_tokens=overlap)
    else:
        split = SplitConfig("characters", chunk_characters=size, overlap_characters=overlap)
    return replace(config, split=split)


def remove_documents_of(spec: JobSpec, config: RagConfig) -> IndexReport | None:
    """Take documents out of the index, and uploaded ones off the disk; None when no index was written."""
    store = open_store(config)
    with store.writer_lock():
        files = store.open().manifest.files
        gone = [key for key in spec.keys if key in files]
        is_emptied = len(gone) == len(files)
        if is_emptied:
            store.clear()
    report = remove_documents(gone, config) if gone and not is_emptied else None
    _unlink_uploads(spec)
    return report


def index_documents(spec: JobSpec, config: RagConfig) -> IndexReport:
    """Index files."""
    listener = Listener(
        reading=lambda file, done, total: report_event(
            "reading", file=Path(file).name, done=done, total=total
        ),
        embedding=lambda done, total: report_event("embedding", done=done, total=total),
    )
    return index_paths([path_of(key) for key in spec.keys], config, listener=listener)


def discard_uploads(spec: JobSpec) -> None:
    """After a job that failed: uploads that are not in the index are not kept on disk either."""
    try:
        current = open_store(configuration(spec)).current()
    except QuantserveError:
        return  # the store is away and nobody knows what is in it; the failure before is the one told
    known = current.manifest.files if current is not None else {}
    _unlink_uploads(spec.model_copy(update={"keys": tuple(key for key in spec.keys if key not in known)}))


def _unlink_uploads(spec: JobSpec) -> None:
    for key in spec.keys:
        path = path_of(key)
        if path.is_relative_to(spec.upload_dir):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def in_turn(work: Callable[[], IndexReport | None], wait_s: float) -> IndexReport | None:
    """Run `work`, waiting for another writer to end.

    Raises:
        Locked: it did not within `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return work()
        except Locked:
            if time.monotonic() > deadline:
                raise
            if not said:
                report_event("waiting")
                said = True
            time.sleep(_TRY_AGAIN_S)


def main() -> int:
    """Do the job on stdin."""
    os.nice(_NICE)
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
    spec = JobSpec.model_validate_json(sys.stdin.buffer.read())
    work = index_documents if spec.kind == "add" else remove_documents_of
    try:
        report = in_turn(lambda: work(spec, configuration(spec)), spec.lock_wait_s)
    except QuantserveError as error:
        if spec.kind == "add":
            discard_uploads(spec)
        report_event("failed", problem=str(error))
        return error.exit_code
    report_event("done", report=None if report is None else asdict(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
