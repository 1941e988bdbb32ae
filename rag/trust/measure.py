"""Measure the limits for one way to search one index: what `rag eval` writes into the calibration file.

entry = measure(searcher.generation, options, [(question, passages, answerable), ...], questions_sha256)
write_calibration(path, load_calibration(path).with_entry(entry))
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from quantserve.rag.config import RetrieveConfig
from quantserve.rag.retrieve.passage import Passage
from quantserve.rag.trust.calibration import Entry, reranker_name, signals_of
from quantserve.rag.trust.fit import KEEP, Asked, fit
from quantserve.rag.trust.index import SearchedIndex


def measure(
    generation: SearchedIndex,
    options: RetrieveConfig,
    searched: Iterable[tuple[str, Sequence[Passage], bool]],
    questions_sha256: str = "",
    keep: float = KEEP,
    *,
    portable: bool = False,
) -> Entry:
    """Fit the limits to (question, its passages, whether the documents answer it).

    The passages were found with `options`; of a deeper search only the first `top_k` are looked at, since
    answering sees no more. `portable` limits are for other documents too: BM25 is left out, whose scale
    grows with the number of documents.

    Raises:
        ValueError: there is no answerable or no unanswerable question.
    """
    asked = [
        Asked(signals_of(question, passages[: options.top_k], generation), answerable, bool(passages))
        for question, passages, answerable in searched
    ]
    if portable:
        for one in asked:
            one.signals.pop("bm25", None)
    fitted = fit(asked, keep)
    settings = generation.manifest.settings
    return Entry(
        embedding_model=PurePath(settings.embedding_model).name,
        embedding_fingerprint=settings.embedding_fingerprint,
        mode=options.mode,
        reranker=reranker_name(options),
        limits=fitted.limits,
        answerable=sum(one.answerable for one in asked),
        unanswerable=sum(not one.answerable for one in asked),
        kept=round(fitted.kept, 4),
        refused=round(fitted.refused, 4),
        questions_sha256=questions_sha256,
        measured=datetime.date.today().isoformat(),
    )
