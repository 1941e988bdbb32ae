"""A small OpenAI client that repeats what a broken connection lost and says plainly what it got."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from quantserve.quantize.gate.measure.errors import BadReply, MeasuredEngineFailed, NotFinite

_ATTEMPTS = 3
# What Python's json says of NaN and infinity, and so a server that was to send them.
_NO_NUMBER = "Out of range float values are not JSON compliant"
_PAUSE_S = 1.0


class Client:
    """Asks one engine. May be used from several threads; every request can be repeated safely."""

    def __init__(self, url: str, model: str, *, timeout_s: float, pause_s: float = _PAUSE_S) -> None:
        """`url` is the server's root, without /v1; `pause_s` is waited before a repeat."""
        self.model = model
        self._pause_s = pause_s
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, limits=httpx.Limits(max_connections=64), trust_env=False
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def completion(self, prompt: str | list[int], **options: Any) -> Mapping[str, Any]:
        """POST /v1/completions; `prompt` is text or token ids."""
        return self._post("/v1/completions", {"prompt": prompt, "temperature": 0, **options})

    def chat(self, question: str, **options: Any) -> Mapping[str, Any]:
        """POST /v1/chat/completions with one user message."""
        messages = [{"role": "user", "content": question}]
        return self._post("/v1/chat/completions", {"messages": messages, "temperature": 0, **options})

    def _post(self, path: str, body: dict[str, Any]) -> Mapping[str, Any]:
        """Send until answered.

        Raises:
            EngineFailed: the connection broke, or the server reported its own failure, three times.
            BadReply: the request was refused, or the reply is not a JSON object with a choice.
            NotFinite: the server could not write its figures down.
        """
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(self._pause_s)
            try:
                reply = self._http.post(path, json={"model": self.model, **body})
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} {error}".strip()
                continue
            if reply.status_code != 200 and _NO_NUMBER in reply.text:
                raise NotFinite(f"{path}: the engine's figures are not finite: its weights are damaged")
            if reply.status_code >= 500:
                problem = f"HTTP {reply.status_code}: {reply.text[:200]}"
                continue
            return _checked(path, reply)
        raise MeasuredEngineFailed(f"the engine did not answer {path} in {_ATTEMPTS} attempts: {problem}")


def _checked(path: str, reply: httpx.Response) -> Mapping[str, Any]:
    if reply.status_code != 200:
        raise BadReply(f"{path} was refused with HTTP {reply.status_code}: {reply.text[:300]}")
    try:
        value = reply.json()
    except ValueError as error:
        raise BadReply(f"{path} answered with something that is not JSON: {reply.text[:80]!r}") from error
    if not isinstance(value, dict) or not value.get("choices"):
        raise BadReply(f"{path} answered without a choice: {reply.text[:80]!r}")
    return value
