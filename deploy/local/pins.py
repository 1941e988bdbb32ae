"""Compile requirements/*.in into exact pins without any index address. Run as: make pins"""

from __future__ import annotations

import os
from dataclasses import dataclass

from quantserve.deploy.local.environments import ROOT
from quantserve.deploy.local.setup import bootstrap_uv, run
from quantserve.deploy.local.terminal import run_main, say

_REQUIREMENTS = ROOT / "requirements"


@dataclass(frozen=True)
class Pins:
    """One compiled file: what it is compiled from, and how."""

    name: str
    sources: tuple[str, ...]
    overrides: str
    torch_backend: str


PINS = (
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
    words += ["--no-emit-index-url", "--no-emit-find-links", "-o", str(_REQUIREMENTS / pins.name)]
    words += [str(_REQUIREMENTS / source) for source in pins.sources]
    if pins.overrides:
        words += ["--override", str(_REQUIREMENTS / pins.overrides)]
    if pins.torch_backend == "pypi":
        return [*words, "--python-platform", "x86_64-manylinux_2_35"]
    links = os.environ.get("PIP_FIND_LINKS")
    return [*words, "--find-links", links] if links else [*words, "--torch-backend", "cpu"]


def main() -> None:
    """Compile every file."""
    uv = str(bootstrap_uv())
    for pins in PINS:
        run(command(uv, pins), what=f"Compiling {pins.name}")
        text = (_REQUIREMENTS / pins.name).read_text(encoding="utf-8")
        # comments name the sources by the path they were given with; keep them free of this machine's
        (_REQUIREMENTS / pins.name).write_text(text.replace(f"{ROOT}/", ""), encoding="utf-8")
        say(f"  compiled requirements/{pins.name}")


if __name__ == "__main__":
    run_main(main)
