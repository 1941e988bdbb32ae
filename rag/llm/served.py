"""What a server says of its model, and what is known of one stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Message = dict[str, str]
_PASSING = frozenset({"created", "permission", "object", "owned_by"})
"""Fields of /v1/models that say nothing about the weights; vLLM stamps `created` with the present time."""


@dataclass(frozen=True)
class ServedModel:
    """What answers, and how many tokens of prompt and answer it takes together.

    `fingerprint` changes with the model: vLLM names the directory it serves in `root`, and an artifact's
    directory ends in its content key. A server that tells no more than a name is known by the name.
    """

    name: str
    window_tokens: int
    fingerprint: str = ""


def served_model(listed: Mapping[str, Any], assumed_window: int) -> ServedModel:
    """Read one entry of /v1/models."""
    window = listed.get("max_model_len")
    told = {key: value for key, value in listed.items() if key not in _PASSING and value is not None}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return ServedModel(
        str(listed["id"]), window if isinstance(window, int) and window > 0 else assumed_window, digest
    )


@dataclass
class StreamFacts:
    """What is known once a stream has ended; token counts are the server's, None when it gave none."""

    ttft_s: float | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    retries: int = 0
