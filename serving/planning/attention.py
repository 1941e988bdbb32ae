"""Which attention kernel computes, and why: vLLM's own preference, checked against the hardware. Pure."""

from __future__ import annotations

from quantserve.serving.errors import HardwareError
from quantserve.serving.planning.items import Item, PlanInputs

# Head widths of vLLM 0.32's CPU kernel (v1/attention/backends/cpu_attn.py).
_CPU_HEAD_WIDTHS = frozenset({32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512})
_SINKS = frozenset({"gpt_oss", "mimo_v2"})


def decide(inputs: PlanInputs, dtype: str, cache: str) -> tuple[list[Item], list[Item]]:
    """Return (flags, notes) for computing in `dtype` on a cache kept in `cache`.

    Raises:
        HardwareError: the CPU kernel does not know the model's heads.
    """
    if inputs.on_gpu:
        return _on_gpu(inputs, cache)
    if inputs.target.facts.latent_width is not None:
        return _latent_on_cpu(inputs, dtype)
    return [], _on_cpu(inputs, dtype)


def _latent_on_cpu(inputs: PlanInputs, dtype: str) -> tuple[list[Item], list[Item]]:
    """Name the plain kernel where vLLM's choice, AMX's, cannot compute.

    It takes that one wherever the processor claims tiles; its weights are 16-bit ones
    (v1/attention/backends/mla/amx_mla.py).
    """
    tiles = inputs.hardware.instruction("amx_bf16")
    if tiles is not None and tiles.lies:
        reason = "AMX is claimed and dies here"
    elif dtype == "float32":
        reason = "AMX's kernel for latent attention computes in 16 bits"
    else:
        return [], [Item("attention", "MLA", "model", "latent attention has kernels of its own")]
    return [Item("--attention-backend", "CPU_MLA", "hardware", reason)], []


def _on_cpu(inputs: PlanInputs, dtype: str) -> list[Item]:
    facts = inputs.target.facts
    if facts.head_dim not in _CPU_HEAD_WIDTHS:
        widths = ", ".join(map(str, sorted(_CPU_HEAD_WIDTHS)))
        raise HardwareError(
            f"{inputs.target.name} has attention heads of {facts.head_dim} numbers, vLLM on a CPU computes "
            f"those of {widths}",
            mend="Serve it on a GPU",
        )
    kernel = next((trial.kernel for trial in inputs.hardware.attention if trial.dtype == dtype), None)
    tried = f"its {kernel} kernel ran here in {dtype}" if kernel else "not tried here"
    return [Item("attention", "CPU_ATTN", "hardware", f"vLLM's only one on a CPU; {tried}")]


def _on_gpu(inputs: PlanInputs, cache: str) -> tuple[list[Item], list[Item]]:
    major, minor = min(gpu.capability for gpu in inputs.hardware.gpus)
    special = _special(inputs)
    if special:
        return [], [Item("attention", "vLLM's choice", "model", f"{special}; vLLM knows which kernels do")]
    if (major, minor) < (8, 0):
        name, reason = "TRITON_ATTN", f"FlashAttention needs compute capability 8.0, this is {major}.{minor}"
    elif major == 10:
        name, reason = "FLASHINFER", f"compute capability {major}.{minor}: TensorRT-LLM's kernels"
    elif cache.startswith("fp8") and major != 9:
        name, reason = (
            "FLASHINFER",
            f"FlashAttention reads 8-bit caches on 9.x only, not {major}.{minor}",
        )
    else:
        name, reason = "FLASH_ATTN", f"FlashAttention, for compute capability {major}.{minor}"
    return [Item("--attention-backend", name, "hardware", reason)], []


def _special(inputs: PlanInputs) -> str:
    facts = inputs.target.facts
    if facts.latent_width is not None:
        return "latent attention (MLA)"
    if not facts.causal or facts.encoder_tokens:
        return "an encoder"
    if facts.model_type in _SINKS:
        return "attention sinks"
    return f"heads of {facts.head_dim} numbers" if facts.head_dim > 256 or facts.head_dim % 8 else ""
