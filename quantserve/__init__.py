"""quantserve: quantize a model, prove it in the engine that serves it, serve it, answer from documents.

A checkout keeps the packages as folders beside this one (core/, quantize/, serving/, rag/, benchmarks/,
deploy/); a wheel holds them inside. Either way they are quantserve.core, quantserve.quantize and so on, and a
bare Python finds them from the checkout's folder without anything installed.
"""

from pathlib import Path

__version__ = "0.1.0"

_beside = Path(__file__).resolve().parent.parent
CHECKOUT = _beside if (_beside / "pyproject.toml").is_file() else None
"""The checkout's folder; None where a wheel is installed."""
if CHECKOUT is not None:
    __path__.append(str(CHECKOUT))
