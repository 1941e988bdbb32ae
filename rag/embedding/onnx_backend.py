"""Embedding in ONNX Runtime: mean pooling over all tokens, then L2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from rag.config import EmbeddingConfig
from rag.embedding.backend import Floats, Progress, cores, length_buckets
from rag.embedding.onnx_graph import MODEL_FILE
from rag.errors import EmbeddingModelError
from rag.text import normalise

MAX_TOKENS = 512
_PAD = "<pad>"


class OnnxEmbedder:
    """The unpacked multilingual-e5-small, or another encoder with the same inputs and output."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Load tokenizer and graph.

        Raises:
            EmbeddingModelError: a file is missing or damaged.
        """
        self._config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3
        # ONNX Runtime and tokenizers raise bare Exception subclasses of their own for bad files.
        try:
            self._tokenizer = Tokenizer.from_file(str(config.model / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                str(config.model / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EmbeddingModelError(
                f"{config.model} cannot be loaded: {error}",
                mend="Make it again: python -m rag embedding-model --force",
            ) from error
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding(pad_id=self._tokenizer.token_to_id(_PAD), pad_token=_PAD)

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
        return sum(self._tokenizer.encode(text, add_special_tokens=False).attention_mask)

    def _embed(self, texts: list[str], advance: Progress) -> Floats:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        # Characters stand in for tokens: within one batch that is close enough to pad little.
        for batch in length_buckets([len(text) for text in texts], self._config.batch_tokens):
            encoded = self._tokenizer.encode_batch([texts[index] for index in batch])
            mask = np.array([item.attention_mask for item in encoded], np.int32)
            ids = np.array([item.ids for item in encoded], np.int32)
            (states,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
            pooled = np.einsum("bth,bt->bh", states, mask.astype(np.float32))
            vectors[batch] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
            advance(len(batch))
        return vectors
