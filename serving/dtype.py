"""Choose the number format from measured speeds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from quantserve.serving.errors import HardwareError
from quantserve.serving.hardware.facts import GemmSpeed, Hardware
from quantserve.serving.model import ModelFacts

# vLLM refuses these in float16: they overflow.
_NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
# float32 doubles weights and cache, so it must be this much faster than the best 16-bit format.
_FLOAT32_ADVANTAGE = 1.5


@dataclass(frozen=True)
class DtypeChoice:
    """The format, the oneDNN cap that goes with it (None: no cap), and why."""

    dtype: str
    isa_cap: str | None
    reason: str


def _overflows(facts: ModelFacts) -> bool:
    """Whether float16 would make infinities of some weights of this model, or of its activations."""
    return facts.beyond_float16 or facts.model_type in _NO_FLOAT16


def gemm_needs_cap(hardware: Hardware) -> bool:
    """Whether oneDNN left to itself picks kernels that die: an uncapped product died, a capped one lives."""
    return any(s.isa_cap is None and s.gflops is None for s in hardware.gemm) and any(
        s.isa_cap is not None and s.gflops is not None for s in hardware.gemm
    )


def bfloat16_dies(hardware: Hardware) -> bool:
    """Whether vLLM's attention dies in bfloat16.

    It picks AMX by the processor's flag and heeds no cap, so a broken AMX rules bfloat16 out altogether.
    """
    tried = [trial for trial in hardware.attention if trial.dtype == "bfloat16"]
    if tried:
        return not tried[0].lives
    amx = hardware.instruction("amx_bf16")
    return amx is not None and amx.advertised and (amx.lies or gemm_needs_cap(hardware))


def choose_cpu_dtype(hardware: Hardware, facts: ModelFacts, wanted: str) -> DtypeChoice:
    """Return the fastest format that lives; `wanted` other than "auto" is kept if it lives.

    Raises:
        HardwareError: no format works.
    """
    if not hardware.gemm:
        return DtypeChoice("float32" if wanted == "auto" else wanted, None, "speeds unknown: torch is absent")
    broken, capped = bfloat16_dies(hardware), gemm_needs_cap(hardware)
    living = [
        speed
        for speed in hardware.gemm
        if speed.gflops is not None
        and not (speed.dtype == "bfloat16" and broken)
        and not (speed.dtype == "float16" and _overflows(facts))
        and not (speed.isa_cap is None and capped)
        and wanted in ("auto", speed.dtype)
    ]
    if not living:
        what = "no number format" if wanted == "auto" else wanted
        raise HardwareError(
            f"{what} computes {facts.model_type} on this machine",
            mend="See quantserve serving doctor",
        )
    best = _best(living)
    reason = f"{best.speed:.0f} GFLOP/s a core measured"
    others = sorted({s.dtype for s in living} - {best.dtype})
    if others:
        rivals = (f"{name} {_fastest(living, name).speed:.0f}" for name in others)
        reason += f" ({', '.join(rivals)})"
    if broken:
        reason += "; bfloat16 would use AMX in attention, which dies here"
    if wanted != "auto":
        reason = f"the profile wants it; {reason}"
    return DtypeChoice(best.dtype, best.isa_cap, reason)


def _fastest(living: list[GemmSpeed], dtype: str) -> GemmSpeed:
    return max((s for s in living if s.dtype == dtype), key=lambda s: s.speed)


def _best(living: list[GemmSpeed]) -> GemmSpeed:
    """Prefer 16 bit; among equals (within a tenth) bfloat16 for its range, and no cap over a cap."""

    def merit(speed: GemmSpeed) -> float:
        bonus = 1.1 if speed.dtype == "bfloat16" else 1.0
        return speed.speed * bonus * (1.1 if speed.isa_cap is None else 1.0)

    half = [s for s in living if s.dtype != "float32"]
    full = [s for s in living if s.dtype == "float32"]
    if not half:
        return max(full, key=merit)
    best = max(half, key=merit)
    if full and max(s.speed for s in full) > _FLOAT32_ADVANTAGE * best.speed:
        return max(full, key=merit)
    return best


def choose_gpu_dtype(hardware: Hardware, facts: ModelFacts, wanted: str) -> DtypeChoice:
    """bfloat16 from compute capability 8.0 on; float16 below, or float32 where float16 overflows."""
    major, minor = min(gpu.capability for gpu in hardware.gpus)
    if wanted != "auto":
        return DtypeChoice(wanted, None, "the profile wants it")
    if (major, minor) >= (8, 0):
        if facts.dtype in ("float16", "bfloat16"):
            return DtypeChoice(facts.dtype, None, f"the checkpoint's own; compute {major}.{minor} has it")
        return DtypeChoice("bfloat16", None, f"compute capability {major}.{minor} has it")
    if _overflows(facts):
        return DtypeChoice("float32", None, f"{facts.model_type} overflows in float16")
    return DtypeChoice("float16", None, f"compute capability {major}.{minor} has no bfloat16")
