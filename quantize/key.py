"""The content key: the same model, method, options, text and library always give the same version."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict
from typing import Any

from quantserve.quantize.config import BitsAndBytesOptions, CalibrationOptions
from quantserve.quantize.methods import Method, Options, bits_of, group_size_of

_VERSION_KEY_LENGTH = 8


def parameters(options: Options, calibration: CalibrationOptions | None) -> dict[str, Any]:
    """Return every parameter that shapes the result, as the manifest records them.

    calibration: None for a method that does not calibrate.
    """
    found: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    if isinstance(options, BitsAndBytesOptions):
        found["quantized"] = "while loading"
    if calibration is not None:
        found |= {
            "sequences": calibration.sequences,
            "sequence_tokens": calibration.sequence_tokens,
            "seed": calibration.seed,
        }
    return found


def content_key(
    method: Method,
    parameters: dict[str, Any],
    *,
    base_sha256: str,
    text_sha256: str | None,
    adapter_sha256: str | None = None,
) -> str:
    """Return the hex SHA-256 over everything that shapes the result."""
    facts = {
        "method": method.name,
        "revision": method.revision,
        "library": f"{method.library} {importlib.metadata.version(method.library)}",
        "parameters": parameters,
        "base": base_sha256,
        "adapter": adapter_sha256,
        "text": text_sha256,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def version_name(method: Method, options: Options, key: str) -> str:
    """Return the version directory's name, such as gptq-w4-g32-1a2b3c4d or int8-w8a8-1a2b3c4d."""
    return f"{method.name}-{_grid(options)}-{key[:_VERSION_KEY_LENGTH]}"


def _grid(options: Options) -> str:
    if isinstance(options, BitsAndBytesOptions):
        return "nf4" if options.bits == 4 else "int8"
    size = group_size_of(options)
    if size is None:
        return "w8a8"
    return f"w{bits_of(options)}-{'channel' if size == -1 else f'g{size}'}"
