"""Loading and unloading LoRA adapters by a name from the list; the directory is ours, never the client's.

vLLM's own endpoint reads whatever path a request names. Here a request names an adapter, and the guard writes
the path that the plan checked, if the weights there are still those it checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from quantserve.serving.adapters import WEIGHTS
from quantserve.serving.guard.refusal import Refusal, bad_value
from quantserve.serving.guard.settings import OfferedAdapter

_LOAD = "/v1/load_lora_adapter"


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
