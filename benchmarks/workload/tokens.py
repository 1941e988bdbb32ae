"""Token counts by the server's own tokenizer, through its HTTP API."""

from __future__ import annotations

from typing import Any

import httpx

from quantserve.benchmarks.errors import ServerUnusable


class Tokenizer:
    """Counts tokens as the server does: vLLM's /tokenize or llama.cpp's.

    `exact` is False where the server has neither; then counts are guesses of four characters a token
    and the run says so.
    """

    def __init__(
        self, base_url: str, model: str, api_key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """`base_url` ends in /v1."""
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers, trust_env=False)
        self._dialect: str | None = None
        self.exact = True
        try:
            self._choose()
        except httpx.HTTPError as error:
            raise ServerUnusable(
                f"{base_url} does not answer ({error})", mend="Is it running? quantserve serving status"
            ) from error

    def _choose(self) -> None:
        body: dict[str, Any] = {"model": self._model, "prompt": "probe"}
        for dialect, fields in (("vllm", body), ("llama.cpp", {"content": "probe"})):
            reply = self._client.post(self._root + "/tokenize", json=fields)
            if reply.status_code == 200 and {"count", "tokens"} & reply.json().keys():
                self._dialect = dialect if "count" in reply.json() else "llama.cpp"
                if self._dialect == dialect:
                    return
        self._dialect, self.exact = None, False

    def _body(self, text: str | list[dict[str, Any]]) -> dict[str, Any]:
        if self._dialect == "llama.cpp":
            return {"content": text, "add_special": True}
        if isinstance(text, str):
            return {"model": self._model, "prompt": text}
        return {"model": self._model, "messages": text, "add_generation_prompt": True}

    def count(self, text: str | list[dict[str, Any]]) -> int:
        """Tokens of a prompt, or of a message list with the chat template around it."""
        if self._dialect is None or (self._dialect == "llama.cpp" and not isinstance(text, str)):
            self.exact = False
            plain = text if isinstance(text, str) else " ".join(str(m["content"]) for m in text)
            return max(1, len(plain) // 4)
        try:
            reply = self._client.post(f"{self._root}/tokenize", json=self._body(text))
            reply.raise_for_status()
            value = reply.json()
            return int(value["count"]) if self._dialect == "vllm" else len(value["tokens"])
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ServerUnusable(f"the server's tokenizer failed: {error}") from error
