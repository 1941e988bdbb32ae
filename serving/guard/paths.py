"""The allow-list: which path, by which method, belongs to which endpoint. Anything else is 404.

LoRA adapters are loaded and unloaded by a name from a list of their own: vLLM's endpoint reads whatever
directory a request names. Here a request names an adapter, and the guard writes the path that the plan
checked, if the weights there are still those it checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_json

from quantserve.core.errors import UsageError
from quantserve.core.http.keys import LIMITS, KeyRules
from quantserve.core.http.refusal import Refusal, bad_value
from quantserve.serving.adapters import WEIGHTS
from quantserve.serving.guard.settings import OfferedAdapter
from quantserve.serving.model import TASKS, Task

Body = Literal["none", "json", "upload"]
Methods = dict[str, "Endpoint"]


@dataclass(frozen=True)
class Endpoint:
    """What a path does. `name` is what a key's scope and the metrics call it."""

    name: str
    body: Body = "none"
    open: bool = False
    """Answered without a key, a count or an audit line."""
    queued: bool = False
    """Occupies the engine, so it counts against the queue."""
    tasks: tuple[Task, ...] = TASKS
    """The tasks whose servers have it."""
    allow: str = ""
    """The methods of a path, for the answer to OPTIONS, which is the guard's own."""
    item: str | None = None
    """What stands behind the path of a collection: the model of /v1/models/MODEL."""


_HEALTH = Endpoint("health", open=True)
_METRICS = Endpoint("metrics")
_MODELS = Endpoint("models")
_POOLING: dict[str, tuple[tuple[Task, ...], tuple[str, ...]]] = {
    "embeddings": (("embed",), ("/v1/embeddings",)),
    "rerank": (("embed", "score"), ("/rerank", "/v1/rerank", "/v2/rerank")),
    "score": (("embed", "score"), ("/score", "/v1/score")),
    "classify": (("classify", "score"), ("/classify",)),
}
_GENERATING: dict[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
ALLOWED: dict[str, Methods] = {
    "/health": {"GET": _HEALTH},
    "/metrics": {"GET": _METRICS},
    "/v1/models": {"GET": _MODELS},
    "/version": {"GET": _MODELS},
    **{
        path: {"POST": Endpoint(name, "json", queued=True, tasks=("generate",))}
        for path, name in _GENERATING.items()
    },
    "/v1/messages/count_tokens": {"POST": Endpoint("tokenize", "json", tasks=("generate",))},
    **{
        path: {"POST": Endpoint(name, "json", queued=True, tasks=tasks)}
        for name, (tasks, paths) in _POOLING.items()
        for path in paths
    },
    "/v1/audio/transcriptions": {"POST": Endpoint("audio", "upload", queued=True, tasks=("transcribe",))},
    "/v1/audio/translations": {"POST": Endpoint("audio", "upload", queued=True, tasks=("transcribe",))},
    "/tokenize": {"POST": Endpoint("tokenize", "json")},
    "/detokenize": {"POST": Endpoint("tokenize", "json")},
}
COLLECTIONS: dict[str, Methods] = {"/v1/models": {"GET": _MODELS}}
"""Paths behind which one of their things can be named: PATH/NAME."""
LORA = "lora"
_LOAD = "/v1/load_lora_adapter"
LORA_PATHS: dict[str, Methods] = {
    _LOAD: {"POST": Endpoint(LORA, "json")},
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
KEY_RULES = KeyRules("qs", "quantserve serving keys", frozenset(LIMITS), (*SCOPES, "extra"))
"""What a key of this server may be limited by: everything."""
_DOES: dict[Task, str] = {
    "generate": "generates text",
    "embed": "makes embeddings",
    "score": "scores pairs of texts",
    "classify": "classifies texts",
    "transcribe": "transcribes speech",
}


class PathTable:
    """The allow-list with the operator's additions, as one server has it."""

    def __init__(self, extra: tuple[str, ...] = (), *, lora: bool = False, task: Task | None = None) -> None:
        """`extra` holds entries like "POST /v1/rerun"; `lora` says whether there are adapters.

        Without a `task` paths of every task are found, as before replicas whose task is not known.

        Raises:
            UsageError: an entry is not of that form.
        """
        self._task = task
        offered = {**ALLOWED, **LORA_PATHS} if lora else ALLOWED
        self._table = {path: dict(methods) for path, methods in offered.items()}
        for entry in extra:
            method, _, path = entry.partition(" ")
            if method not in ("GET", "POST", "DELETE") or not path.startswith("/"):
                raise UsageError(f"extra_paths: {entry!r} is no path", mend="Write it as POST /v1/path")
            endpoint = Endpoint("extra", "json", queued=True) if method == "POST" else Endpoint("extra")
            self._table.setdefault(path, {})[method] = endpoint

    def find(self, method: str, path: str) -> Endpoint:
        """Return what is asked for. HEAD is there where GET is; OPTIONS is the guard's to answer, everywhere.

        Raises:
            Refusal: 404 for a path that is not on the list or belongs to another task, 405 for a method.
        """
        methods, item = self._table.get(path), None
        if methods is None:
            methods, item = self._item_of_collection(path)
        if methods is None:
            raise Refusal(404, "unknown_path", f"there is no {path[:200]} here")
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            allow = ", ".join(_with_head(methods))
            if method == "OPTIONS":
                return replace(_PREFLIGHT, allow=allow)
            raise Refusal(
                405, "unknown_method", f"{path[:200]} is asked by {allow}, not {method[:20]}", allow=allow
            )
        return endpoint if item is None else replace(endpoint, item=item)

    def require_task(self, endpoint: Endpoint, path: str) -> None:
        """Refuse what this server's model cannot do, before anything of the request is read.

        Raises:
            Refusal: 404, naming what is served.
        """
        if self._task is None or self._task in endpoint.tasks:
            return
        served = ", ".join(self.served())
        wanted = " or ".join(_DOES[task] for task in endpoint.tasks)
        raise Refusal(
            404,
            "wrong_task",
            f"{path[:200]} wants a model that {wanted}; this server's model {_DOES[self._task]} ({served})",
        )

    def served(self) -> list[str]:
        """Return the paths by which this server's engine is asked to work."""
        return [
            path
            for path, methods in self._table.items()
            for endpoint in methods.values()
            if endpoint.queued and (self._task is None or self._task in endpoint.tasks)
        ]

    @staticmethod
    def _item_of_collection(path: str) -> tuple[Methods | None, str | None]:
        for root, methods in COLLECTIONS.items():
            if path.startswith(root + "/") and len(path) > len(root) + 1:
                return methods, path[len(root) + 1 :]
        return None, None


def _with_head(methods: Methods) -> list[str]:
    found = []
    for method in methods:
        found += ["GET", "HEAD"] if method == "GET" else [method]
    return [*found, "OPTIONS"]


_PREFLIGHT = Endpoint("preflight", open=True)


class OfferedAdapters:
    """The adapters clients may ask for."""

    def __init__(self, adapters: Iterable[OfferedAdapter]) -> None:
        """Index them by name."""
        self._by_name = {adapter.name: adapter for adapter in adapters}

    def rewrite(self, path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        """Return the adapter's name and the body the engine gets.

        Raises:
            Refusal: 400 for any field but the name, 404 for a name that is not offered, 409 for weights that
                changed since they were checked.
        """
        for field in body:
            if field != "lora_name":
                raise Refusal(400, "refused_field", f"{field} is not accepted; give lora_name", param=field)
        name = body.get("lora_name")
        if type(name) is not str:
            raise bad_value("lora_name must be text", "lora_name")
        adapter = self._by_name.get(name)
        if adapter is None:
            known = ", ".join(sorted(self._by_name))
            raise Refusal(404, "unknown_adapter", f"no such adapter; there are {known}", param="lora_name")
        if path != _LOAD:
            return name, to_json({"lora_name": name})
        self._require_unchanged(adapter)
        return name, to_json({"lora_name": name, "lora_path": adapter.directory})

    def _require_unchanged(self, adapter: OfferedAdapter) -> None:
        try:
            status = (Path(adapter.directory) / WEIGHTS).stat()
        except OSError:
            status = None
        if status is None or (status.st_size, status.st_mtime_ns) != (adapter.bytes, adapter.mtime_ns):
            message = f"the weights of {adapter.name} changed since they were checked; restart the server"
            raise Refusal(409, "adapter_changed", message, param="lora_name")
