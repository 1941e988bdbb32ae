"""A cross-encoder in this process, by sentence-transformers."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantserve.rag.config import RerankConfig
from quantserve.rag.errors import RerankFailed

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# Read once by oneDNN when torch loads; see rag.embedding.huggingface_backend.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def load_cross_encoder(model: str, max_tokens: int | None, option: str) -> CrossEncoder:
    """Load a directory or hub id; `option` is where the user named it.

    Raises:
        RerankFailed: it is not there, or is no cross-encoder.
    """
    from sentence_transformers import CrossEncoder

    try:
        loaded: CrossEncoder = CrossEncoder(model, max_length=max_tokens)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RerankFailed(
            f"the cross-encoder {model!r} cannot be loaded ({type(error).__name__})",
            mend=f"Name a sentence-transformers cross-encoder directory: {option}",
        ) from error
    return loaded


class CrossEncoderReranker:
    """A directory or hub id of a cross-encoder, such as BAAI/bge-reranker-v2-m3 (100 languages)."""

    def __init__(self, config: RerankConfig) -> None:
        """Nothing is loaded yet."""
        self._config = config
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model's directory or id."""
        return self._config.model

    @functools.cached_property
    def _model(self) -> CrossEncoder:
        return load_cross_encoder(self._config.model, self._config.max_tokens, "--rerank-model")

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text."""
        with self._lock:  # one model, many questions: batches take turns
            predicted = self._model.predict(
                [(query, text) for text in texts], batch_size=len(texts), show_progress_bar=False
            )
        return [float(score) for score in predicted]
