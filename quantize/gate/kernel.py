"""Proof from the engine's own log that it computes with the quantized weights, and with which kernel.

vLLM 0.32 logs its configuration with `quantization=METHOD` (None when it reads plain weights) and, when
the layers are built, the kernel it chose: "Using CPUWNA16LinearKernel for AutoGPTQLinearMethod",
"Using MacheteLinearKernel for CompressedTensorsWNA16", "Selected CPUInt8ScaledMMLinearKernel for
CompressedTensorsW8A8Int8" (model_executor/layers/quantization, model_executor/kernels/linear). bitsandbytes
has one kernel and names it nowhere; its plugin logs outside vLLM's own logger, so the configuration must do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONFIG = re.compile(r"\bquantization=([A-Za-z0-9_\-]+)")
_KERNEL = re.compile(r"\b(?:Using|Selected) (\w*(?:Kernel|Experts|GEMM)\w*) for (\w+)")
# Experts are logged without the layer.
_EXPERTS = re.compile(r"\bUsing (\w+MoEMethod)\b")
# AMD's kernel leaves a layout it does not read to vLLM's own.
_INSTEAD = re.compile(r"falling back to (\w+LinearKernel)")
_BITSANDBYTES = "bitsandbytes"
_PREFIX = re.compile(r"^.*?\] ")
# Kernels that unpack to 16 bits or emulate the format: correct, but neither small nor fast.
_FALLBACK = re.compile(r"Emulation|Torch(?!ao)")


@dataclass(frozen=True)
class KernelEvidence:
    """What the log says about the weights."""

    quantization: str | None
    """vLLM's name of the method, None for plain weights or when the log does not tell."""
    kernels: tuple[str, ...]
    """Kernel classes in the order of their appearance."""
    lines: tuple[str, ...]
    """The log lines this rests on."""

    @property
    def fallback(self) -> tuple[str, ...]:
        """The kernels among them that are fallbacks."""
        return tuple(name for name in self.kernels if _FALLBACK.search(name))

    @property
    def proved(self) -> bool:
        """Whether a quantized kernel was loaded and no fallback."""
        return self.quantization is not None and bool(self.kernels) and not self.fallback


def read_evidence(log: str) -> KernelEvidence:
    """Read an engine's log."""
    quantization: str | None = None
    kernels: dict[str, None] = {}
    lines: list[str] = []
    for line in log.splitlines():
        if (found := _CONFIG.search(line)) and "Initializing a V1 LLM engine" in line:
            quantization = None if found[1] == "None" else found[1]
            lines.append(f"Initializing a V1 LLM engine with quantization={found[1]}")
            if quantization == _BITSANDBYTES:
                kernels["BitsAndBytes"] = None
        elif found := (_KERNEL.search(line) or _EXPERTS.search(line) or _INSTEAD.search(line)):
            if found[1] not in kernels:
                lines.append(_PREFIX.sub("", line).strip()[:200])
            kernels[found[1]] = None
    return KernelEvidence(quantization, tuple(kernels), tuple(lines))
