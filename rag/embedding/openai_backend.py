"""Embedding by a server: POST /v1/embeddings, as vLLM, OpenAI and others offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.backend import Floats, Progress
from quantserve.rag.errors import ServerUnavailable
from quantserve.rag.text import normalise

if TYPE_CHECKING:
    from openai import OpenAI

_BYTES_PER_TOKEN = 3
"""Without the server's tokenizer tokens are estimated, rather too many: Korean and English both take more
bytes a token in the vocabularies of multilingual models, so that chunks come out a little smaller."""


class OpenAIEmbedder:
    """Sends batches; the openai client repeats after connection errors, 429 and 5xx."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Ask for one vector, to learn the dimension.

        Raises:
            ServerUnavailable: the server does not answer, or refuses.
        """
        from openai import OpenAI

        self._config = config
        self._client: OpenAI = OpenAI(
            base_url=config.base_url,
            api_key=config.api_key,
            timeout=config.timeout_s,
            max_retries=config.max_retries,
        )
        self._dimension = len(self._request(["dimension"])[0])

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """Embed questions."""
        return self._embed([self._config.query_prefix + normalise(text) for text in texts], lambda _: None)

    def embed_passages(self, texts: Sequence[str], advance: Progress = lambda _: None) -> Floats:
        """Embed passages; `advance` is told how many more are done."""
        return self._embed([self._config.passage_prefix + normalise(text) for text in texts], advance)

    def count_tokens(self, text: str) -> int:
        """Estimate the tokens of a text, rather too many than too few."""
        return -(-len(text.encode()) // _BYTES_PER_TOKEN)

    def _embed(self, texts: list[str], advance: Progress) -> Floats:
        rows: list[list[float]] = []
        for start in range(0, len(texts), self._config.batch_texts):
            batch = texts[start : start + self._config.batch_texts]
            rows.extend(self._request(batch))
            advance(len(batch))
        vectors = np.array(rows, np.float32).reshape(len(texts), self._dimension)
        unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _request(self, texts: list[str]) -> list[list[float]]:
        import openai

        where = f"{self._config.base_url} ({self._config.model})"
        try:
            answer = self._client.embeddings.create(
                model=str(self._config.model), input=texts, encoding_format="float"
            )
        except openai.OpenAIError as error:
            raise ServerUnavailable(
                f"{where} gave no embeddings: {type(error).__name__}: {str(error).splitlines()[0]}",
                mend="Check EMBED_BASE_URL, EMBED_API_KEY and the model's name (--embedding-model)",
            ) from error
        rows = sorted(answer.data, key=lambda item: item.index)
        if [item.index for item in rows] != list(range(len(texts))):
            raise ServerUnavailable(f"{where} gave {len(rows)} vectors for {len(texts)} texts")
        return [item.embedding for item in rows]
