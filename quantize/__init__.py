"""From a checkpoint to a quantized artifact that has proved itself in the engine that will serve it.

In: a Hugging Face checkpoint under models/ and text to calibrate on. Out: artifacts/NAME/VERSION/, a
checkpoint with report.json and, written last, manifest.json. Imports core only; speaks to the engine
through `quantserve serving` and the OpenAI HTTP API.

    from quantserve.quantize import gate, promote, quantize

does what the command line does; nothing heavy is imported before a function is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["gate", "promote", "quantize"]


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for: who reads artifacts only does not pay for it."""
    if name == "gate":  # the package itself, which can be called
        return importlib.import_module(f"{__name__}.gate")
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
