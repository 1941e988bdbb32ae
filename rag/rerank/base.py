"""What a reranker is, and how it is kept to its time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from quantserve.rag.config import RerankConfig
from quantserve.rag.errors import RerankFailed


class Reranker(Protocol):
    """Scores passages against a question."""

    @property
    def name(self) -> str:
        """The model's name."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text, higher is better, all texts in one batch.

        Raises:
            RerankFailed: the model or the server gives none.
        """


def load_reranker(config: RerankConfig) -> Reranker | None:
    """Make the configured reranker; None when it is off. A model loads with the first question."""
    if config.kind == "off":
        return None
    if config.kind == "endpoint":
        from quantserve.rag.rerank.endpoint import EndpointReranker

        return EndpointReranker(config)
    from quantserve.rag.rerank.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker(config)


def rerank_in_time(reranker: Reranker, query: str, texts: Sequence[str], config: RerankConfig) -> list[float]:
    """Score all texts in batches within `config.timeout_s`.

    The batches run in a thread of their own, so that one slow batch cannot hold the answer back; it
    ends after that batch.

    Raises:
        RerankFailed: the time passed, or the reranker failed.
    """
    done: list[float] = []
    failures: list[RerankFailed] = []
    stop = threading.Event()

    def work() -> None:
        try:
            for start in range(0, len(texts), config.batch):
                if stop.is_set():
                    return
                done.extend(reranker.scores(query, texts[start : start + config.batch]))
        except RerankFailed as error:
            failures.append(error)

    started = time.perf_counter()
    thread = threading.Thread(target=work, name="rerank", daemon=True)
    thread.start()
    thread.join(config.timeout_s)
    if thread.is_alive():
        stop.set()
        passed = time.perf_counter() - started
        raise RerankFailed(f"reranking by {reranker.name} took longer than {passed:.1f} s")
    if failures:
        raise failures[0]
    if len(done) != len(texts):
        raise RerankFailed(f"{reranker.name} gave {len(done)} scores for {len(texts)} passages")
    if not all(math.isfinite(score) for score in done):
        raise RerankFailed(f"{reranker.name} gave scores that are no numbers")
    return done
