"""Measure the limits for one way to search one index: what `rag eval` writes into the calibration file.

entry = measure(searcher, options, [(question, answerable), ...], questions_sha256)
write_calibration(path, load_calibration(path).with_entry(entry))
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import PurePath

from rag.config import RetrieveConfig
from rag.retrieve import Searcher
from rag.trust.calibration import Entry, signals_of
from rag.trust.fit import KEEP, Asked, fit


def measure(
    searcher: Searcher,
    options: RetrieveConfig,
    questions: Iterable[tuple[str, bool]],
    questions_sha256: str = "",
    keep: float = KEEP,
    advance: Callable[[], None] = lambda: None,
) -> Entry:
    """Search every (question, whether the documents answer it) and fit the limits; `advance` after each.

    Raises:
        ValueError: there is no answerable or no unanswerable question.
    """
    asked: list[Asked] = []
    for question, answerable in questions:
        passages = searcher.find(question, options).passages
        asked.append(Asked(signals_of(question, passages, searcher.generation), answerable))
        advance()
    fitted = fit(asked, keep)
    settings = searcher.generation.manifest.settings
    return Entry(
        embedding_model=PurePath(settings.embedding_model).name,
        embedding_fingerprint=settings.embedding_fingerprint,
        mode=options.mode,
        reranker=PurePath(options.rerank.model).name if options.rerank.kind != "off" else "",
        limits=fitted.limits,
        answerable=sum(one.answerable for one in asked),
        unanswerable=sum(not one.answerable for one in asked),
        kept=round(fitted.kept, 4),
        refused=round(fitted.refused, 4),
        questions_sha256=questions_sha256,
        measured=datetime.date.today().isoformat(),
    )
