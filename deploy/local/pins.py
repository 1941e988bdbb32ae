"""Compile requirements/*.in into exact pins without any index address. `make pins`, in a checkout"""

from __future__ import annotations

import os
from dataclasses import dataclass

from quantserve.core.console import console
from quantserve.deploy.local.environments import REQUIREMENTS
from quantserve.deploy.local.install import bootstrap_uv, run


@dataclass(frozen=True)
class Pins:
    """One compiled file: what it is compiled from, and how."""

    name: str
    sources: tuple[str, ...]
    overrides: str
    torch_backend: str


PINS = (
    Pins("base.txt", ("core.in",), "", "cpu"),
    Pins("quantize-cpu.txt", ("core.in", "quantize.in"), "quantize-overrides.txt", "cpu"),
    Pins("quantize-gpu.txt", ("core.in", "quantize.in"), "quantize-overrides.txt", "pypi"),
    Pins("serving-cpu.txt", ("core.in", "serving-cpu.in"), "serving-overrides.txt", "cpu"),
    Pins("serving-gpu.txt", ("core.in", "serving-gpu.in"), "", "pypi"),
    Pins("rag.txt", ("core.in", "rag.in", "dev.in"), "rag-overrides.txt", "cpu"),
    Pins("eval.txt", ("eval.in",), "", "cpu"),
    Pins("audit.txt", ("audit.in",), "", "cpu"),
)


def command(uv: str, pins: Pins) -> list[str]:
    """Return uv's argv for one file; a CPU build of torch comes from PIP_FIND_LINKS where that is set."""
    words = [uv, "pip", "compile", "-q", "--python-version", "3.11", "--no-header"]
    words += ["--no-emit-index-url", "--no-emit-find-links", "-o", str(REQUIREMENTS / pins.name)]
    words += [str(REQUIREMENTS / source) for source in pins.sources]
    if pins.overrides:
        words += ["--override", str(REQUIREMENTS / pins.overrides)]
    if pins.torch_backend == "pypi":
        return [*words, "--python-platform", "x86_64-manylinux_2_35"]
    links = os.environ.get("PIP_FIND_LINKS")
    return [*words, "--find-links", links] if links else [*words, "--torch-backend", "cpu"]


def compile_pins() -> None:
    """Compile every file."""
    uv = str(bootstrap_uv())
    for pins in PINS:
        run(command(uv, pins), what=f"Compiling {pins.name}")
        text = (REQUIREMENTS / pins.name).read_text(encoding="utf-8")
        # comments name the sources by the path they were given with; keep them free of this machine's
        (REQUIREMENTS / pins.name).write_text(text.replace(f"{REQUIREMENTS.parent}/", ""), encoding="utf-8")
        console.print(f"  compiled requirements/{pins.name}")
