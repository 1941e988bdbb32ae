"""What the engine loads on a CPU and on CUDA, and what it refuses, with the reason. Pure.

From vLLM 0.32's sources: GPTQ's layout holds 4 and 8 bits without zero points, AWQ's 4 bits with them;
compressed-tensors' packed layout 2 bits too: of 3 it puts ten in a word, where the engine's loader expects
codes without gaps (seen on an H100). The CPU's kernel for packed weights takes 4 bits alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.quantize.config import BitsAndBytesOptions, Fp8Options, Int8Options

TARGETS = ("cpu", "cuda")
_CPU_BITS = (4,)
_CUDA_BITS = (2, 4, 8)
# vLLM's Marlin kernel, which reads GPTQ's and AWQ's layouts on CUDA.
_MARLIN_GROUPS = (-1, 32, 64, 128)


def default_target() -> str:
    """Return what this machine has, found without importing torch."""
    has_cuda = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return "cuda" if has_cuda else "cpu"


def check_target(target: str) -> None:
    """Refuse a target there is none of.

    Raises:
        UsageError: with those there are.
    """
    if target not in TARGETS:
        raise UsageError(f"Unknown target {target!r}", mend=f"Choose one of {', '.join(TARGETS)}")


def refuse_unloadable(method: str, options: object, target: str) -> None:
    """Refuse before the work what the engine on the target would not load.

    Raises:
        UsageError: with the reason and what to use instead.
    """
    if isinstance(options, BitsAndBytesOptions) and target == "cpu":
        raise UsageError(
            "The engine reads bitsandbytes on CUDA only", mend="Use --method int8, or --target cuda"
        )
    if isinstance(options, Fp8Options) and target == "cpu":
        raise UsageError(
            "FP8 on a CPU is emulated by the engine: no CPU here has kernels for it",
            mend="Use --method int8, or --target cuda",
        )
    if isinstance(options, Fp8Options | Int8Options | BitsAndBytesOptions):
        return
    bits: int = getattr(options, "bits", 4)
    group_size: int = getattr(options, "group_size", -1)
    if target == "cpu" and bits not in _CPU_BITS:
        raise UsageError(
            f"{method} with {bits} bits: no kernel in the engine on CPU reads packed weights of other than 4",
            mend="Use --bits 4, --method int8 for 8 bits, or --target cuda",
        )
    if bits not in _CUDA_BITS:
        raise UsageError(
            f"{method} with {bits} bits has no layout that the engine loads", mend="Use --bits 2, 4 or 8"
        )
    if target == "cuda" and bits in (4, 8) and group_size not in _MARLIN_GROUPS:
        raise UsageError(
            f"Group size {group_size} has no kernel in the engine on CUDA",
            mend="Use --group-size 32, 64, 128 or -1",
        )
