"""The rerank endpoint of a server: POST /v1/rerank, as vLLM, Jina, Cohere and TEI-alikes offer it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from quantserve.rag.config import RerankConfig
from quantserve.rag.errors import RerankFailed

if TYPE_CHECKING:
    import httpx


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    index: int
    relevance_score: float


class _Results(BaseModel):
    model_config = ConfigDict(extra="ignore")

    results: list[_Result]


class EndpointReranker:
    """Sends one request for each batch."""

    def __init__(self, config: RerankConfig) -> None:
        """Nothing is sent yet."""
        self._config = config

    @property
    def name(self) -> str:
        """The endpoint, with its model where one is named."""
        return f"{self._url} {self._config.model}".strip()

    @property
    def _url(self) -> str:
        return f"{self._config.base_url.rstrip('/')}/rerank"

    @functools.cached_property
    def _client(self) -> httpx.Client:
        import httpx

        headers = {"Authorization": f"Bearer {self._config.api_key}"} if self._config.api_key else {}
        return httpx.Client(timeout=self._config.timeout_s, headers=headers)

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text."""
        import httpx

        body = {"model": self._config.model, "query": query, "documents": list(texts), "top_n": len(texts)}
        try:
            response = self._client.post(self._url, json=body)
            response.raise_for_status()
            results = _Results.model_validate_json(response.content).results
        except (httpx.HTTPError, ValidationError) as error:
            raise RerankFailed(
                f"{self._url} gave no scores ({type(error).__name__})", mend="Look at the server's log"
            ) from error
        scores = {result.index: result.relevance_score for result in results}
        if set(scores) != set(range(len(texts))):
            raise RerankFailed(f"{self._url} gave scores for {len(scores)} of {len(texts)} passages")
        return [scores[index] for index in range(len(texts))]
