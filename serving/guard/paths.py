"""The allow-list: which path, by which method, belongs to which endpoint. Anything else is 404."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.errors import UsageError
from serving.guard.refusal import Refusal

Body = Literal["none", "json", "upload"]


@dataclass(frozen=True)
class Endpoint:
    """What a path does. `name` is what a key's scope and the metrics call it."""

    name: str
    body: Body = "none"
    open: bool = False
    """Answered without a key, a count or an audit line."""
    queued: bool = False
    """Occupies the engine, so it counts against the queue."""


_HEALTH = Endpoint("health", open=True)
_METRICS = Endpoint("metrics")
_MODELS = Endpoint("models")
_POOLING = {
    "embeddings": ("/v1/embeddings",),
    "rerank": ("/rerank", "/v1/rerank", "/v2/rerank"),
    "score": ("/score", "/v1/score"),
    "classify": ("/classify",),
}
ALLOWED: dict[str, dict[str, Endpoint]] = {
    "/health": {"GET": _HEALTH, "HEAD": _HEALTH},
    "/metrics": {"GET": _METRICS},
    "/v1/models": {"GET": _MODELS},
    "/version": {"GET": _MODELS},
    "/v1/chat/completions": {"POST": Endpoint("chat", "json", queued=True)},
    "/v1/completions": {"POST": Endpoint("completions", "json", queued=True)},
    **{
        path: {"POST": Endpoint(name, "json", queued=True)}
        for name, paths in _POOLING.items()
        for path in paths
    },
    "/v1/audio/transcriptions": {"POST": Endpoint("audio", "upload", queued=True)},
    "/v1/audio/translations": {"POST": Endpoint("audio", "upload", queued=True)},
    "/tokenize": {"POST": Endpoint("tokenize", "json")},
    "/detokenize": {"POST": Endpoint("tokenize", "json")},
}
LORA = "lora"
LORA_PATHS: dict[str, dict[str, Endpoint]] = {
    "/v1/load_lora_adapter": {"POST": Endpoint(LORA, "json")},
    "/v1/unload_lora_adapter": {"POST": Endpoint(LORA, "json")},
}
"""There only where the server offers adapters."""
_OFFERED = (ALLOWED, LORA_PATHS)
SCOPES = tuple(
    sorted(
        {e.name for table in _OFFERED for methods in table.values() for e in methods.values() if not e.open}
    )
)
"""Endpoint names a key can be limited to."""
BY_NAME_ONLY = frozenset({LORA})
"""They change the server for everyone, so a key for everything does not cover them."""


class PathTable:
    """The allow-list with the operator's additions."""

    def __init__(self, extra: tuple[str, ...] = (), *, lora: bool = False) -> None:
        """`extra` holds entries like "POST /v1/responses"; `lora` says whether there are adapters.

        Raises:
            UsageError: an entry is not of that form.
        """
        offered = {**ALLOWED, **LORA_PATHS} if lora else ALLOWED
        self._table = {path: dict(methods) for path, methods in offered.items()}
        for entry in extra:
            method, _, path = entry.partition(" ")
            if method not in ("GET", "POST", "DELETE") or not path.startswith("/"):
                raise UsageError(f"extra_paths: {entry!r} is no path", mend="Write it as POST /v1/responses")
            endpoint = Endpoint("extra", "json", queued=True) if method == "POST" else Endpoint("extra")
            self._table.setdefault(path, {})[method] = endpoint

    def find(self, method: str, path: str) -> Endpoint:
        """Return what is asked for; a browser's OPTIONS question is open wherever its path is.

        Raises:
            Refusal: 404 for a path that is not on the list, 405 for a method.
        """
        methods = self._table.get(path)
        if methods is None:
            raise Refusal(404, "unknown_path", f"there is no {path[:200]} here")
        endpoint = methods.get(method)
        if endpoint is not None:
            return endpoint
        if method == "OPTIONS":
            return _PREFLIGHT
        allow = ", ".join(methods)
        raise Refusal(405, "unknown_method", f"{path} is asked by {allow}, not {method[:20]}", allow=allow)


_PREFLIGHT = Endpoint("preflight", open=True)
