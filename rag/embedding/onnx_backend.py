"""Embedding in ONNX Runtime: mean pooling over all tokens, then L2.

Each text runs by itself on one core, as many at once as there are cores. Against batches on all cores:
no padding, operators that ONNX Runtime does not spread over threads keep no core waiting, one query is
not slowed by waking threads for ten tokens, and a vector does not depend on what was embedded beside it
(dynamic quantization takes one scale for a whole batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.backend import Floats, Progress, cores
from quantserve.rag.embedding.onnx_graph import MODEL_FILE
from quantserve.rag.errors import EmbeddingModelError
from quantserve.rag.text import normalise

MAX_TOKENS = 512


class OnnxEmbedder:
    """The unpacked multilingual-e5-small, or another encoder with the same inputs and output."""

    def __init__(self, config: EmbeddingConfig, graph: Path | None = None) -> None:
        """Load tokenizer and graph; `graph` replaces the directory's fp32 one.

        Raises:
            EmbeddingModelError: a file is missing or damaged.
        """
        self._config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # ONNX Runtime and tokenizers raise bare Exception subclasses of their own for bad files.
        try:
            self._tokenizer = Tokenizer.from_file(str(config.model / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                str(graph or config.model / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EmbeddingModelError(
                f"{config.model} cannot be loaded: {error}",
                mend="Make it again: quantserve rag embedding-model --force",
            ) from error
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="embed")

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._session.get_outputs()[0].shape[-1])

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """Embed questions."""
        return self._embed([self._config.query_prefix + normalise(text) for text in texts], lambda _: None)

    def embed_passages(self, texts: Sequence[str], advance: Progress = lambda _: None) -> Floats:
        """Embed passages; `advance` is told how many more are done."""
        return self._embed([self._config.passage_prefix + normalise(text) for text in texts], advance)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without prefix and special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _embed(self, texts: list[str], advance: Progress) -> Floats:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if len(texts) == 1:
            vectors[0] = self._one(texts[0])
            advance(1)
            return vectors
        for row, vector in enumerate(self._pool.map(self._one, texts)):
            vectors[row] = vector
            advance(1)
        return vectors

    def _one(self, text: str) -> Floats:
        ids = np.array([self._tokenizer.encode(text).ids], np.int32)
        (states,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        pooled: Floats = states[0].mean(axis=0)
        unit: Floats = pooled / np.linalg.norm(pooled)
        return unit
