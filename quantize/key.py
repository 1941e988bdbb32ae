"""The content key: the same model, method, options, text and library always give the same version."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict
from typing import Any

from quantize.config import CalibrationOptions
from quantize.methods import Method, Options

_VERSION_KEY_LENGTH = 8


def parameters(options: Options, calibration: CalibrationOptions) -> dict[str, Any]:
    """Return every parameter that shapes the result, as the manifest records them."""
    return {
        **asdict(options),
        "sequences": calibration.sequences,
        "sequence_tokens": calibration.sequence_tokens,
        "seed": calibration.seed,
    }


def content_key(method: Method, parameters: dict[str, Any], *, base_sha256: str, text_sha256: str) -> str:
    """Return the hex SHA-256 over everything that shapes the result."""
    facts = {
        "method": method.name,
        "revision": method.revision,
        "library": f"{method.library} {importlib.metadata.version(method.library)}",
        "parameters": parameters,
        "base": base_sha256,
        "text": text_sha256,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def version_name(method: Method, options: Options, key: str) -> str:
    """Return the version directory's name, such as gptq-w4-g32-1a2b3c4d."""
    group = "channel" if options.group_size == -1 else f"g{options.group_size}"
    return f"{method.name}-w{options.bits}-{group}-{key[:_VERSION_KEY_LENGTH]}"
