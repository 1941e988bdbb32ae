"""Embedding by sentence-transformers through LlamaIndex: any model directory or hub id."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.backend import Floats, Progress, cores, length_buckets
from quantserve.rag.errors import EmbeddingModelError
from quantserve.rag.text import normalise

# Read once by oneDNN when torch loads: its AMX kernels die where AMX is advertised and absent.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


class HuggingFaceEmbedder:
    """llama-index-embeddings-huggingface with the model's prefixes, in fp32."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Load the model.

        Raises:
            EmbeddingModelError: sentence-transformers cannot load it.
        """
        import torch
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        torch.set_num_threads(cores())
        try:
            self._model = HuggingFaceEmbedding(
                model_name=str(config.model),
                query_instruction=config.query_prefix,
                text_instruction=config.passage_prefix,
                device="cuda" if torch.cuda.is_available() else "cpu",
                model_kwargs={"dtype": torch.float32},
            )
        except (OSError, ValueError, KeyError) as error:
            raise EmbeddingModelError(
                f"{config.model} cannot be loaded: {error}",
                mend="Name a sentence-transformers directory, or run: quantserve rag embedding-model",
            ) from error
        self._config = config
        self._dimension = len(self._model.get_query_embedding("x"))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """Embed questions."""
        rows = [self._model.get_query_embedding(normalise(text)) for text in texts]
        return np.array(rows, np.float32).reshape(-1, self._dimension)

    def embed_passages(self, texts: Sequence[str], advance: Progress = lambda _: None) -> Floats:
        """Embed passages; `advance` is told how many more are done."""
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for batch in length_buckets([len(text) for text in texts], self._config.batch_tokens):
            rows = self._model.get_text_embedding_batch([normalise(texts[index]) for index in batch])
            vectors[batch] = np.array(rows, np.float32)
            advance(len(batch))
        return vectors

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without prefix and special tokens."""
        return len(self._model._model.tokenizer.encode(text, add_special_tokens=False))
