"""The machines the plan must be right for, as the probe saw them (FACTS: one core's GFLOP/s)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from quantserve.serving.command import PlanInputs
from quantserve.serving.config import ServeOptions
from quantserve.serving.hardware import AttentionTrial, Cpu, GemmSpeed, Gpu, Hardware, Instruction, Libraries
from quantserve.serving.model import ModelFacts
from quantserve.serving.profiles import load_profile
from quantserve.serving.target import Target

GIB = 1 << 30
H100_BYTES = 84_929_347_584
"""An H100 of 80 GB as torch reports it."""
CAP = "AVX512_CORE_FP16"


def speeds(decode: float, prefill: float) -> dict[str, float]:
    return {"1": 10.0, "32": decode, "128": (decode + prefill) / 2, "512": prefill}


def dead(dtype: str, cap: str | None = None) -> GemmSpeed:
    return GemmSpeed(dtype, cap, None, "SIGILL")


CPU = Cpu("a processor", "vendor", "x86_64", (0, 1), None, ((0, 1),), 1)
LIBRARIES = Libraries("/usr/lib/libtcmalloc_minimal.so.4", "/env/lib/libiomp5.so")

BROKEN_AMX = Hardware(
    identity="broken-amx",
    cpu=CPU,
    memory_total_bytes=24 * GIB,
    instructions=(Instruction("amx_bf16", True, False, "SIGILL"), Instruction("avx512_fp16", True, True)),
    gemm=(
        GemmSpeed("float32", None, speeds(45, 70)),
        dead("float16"),
        dead("bfloat16"),
        GemmSpeed("float32", CAP, speeds(45, 70)),
        GemmSpeed("float16", CAP, speeds(90, 140)),
        GemmSpeed("bfloat16", CAP, speeds(80, 90)),
    ),
    attention=(
        AttentionTrial("float32", "vec", True),
        AttentionTrial("float16", "vec", True),
        AttentionTrial("bfloat16", "amx", False, "SIGILL"),
    ),
    gpus=(),
    libraries=LIBRARIES,
    torch_version="2.13.0+cpu",
    probed_at="2026-11-22T00:00:00+00:00",
    probe_s=10.0,
)
WORKING_AMX = replace(
    BROKEN_AMX,
    identity="working-amx",
    instructions=(Instruction("amx_bf16", True, True),),
    gemm=(
        GemmSpeed("float32", None, speeds(92, 122)),
        GemmSpeed("float16", None, speeds(108, 114)),
        GemmSpeed("bfloat16", None, speeds(386, 1099)),
        GemmSpeed("float32", CAP, speeds(92, 150)),
        GemmSpeed("float16", CAP, speeds(101, 143)),
        GemmSpeed("bfloat16", CAP, speeds(83, 69)),
    ),
    attention=tuple(AttentionTrial(t.dtype, t.kernel, True) for t in BROKEN_AMX.attention),
)
AMD = replace(
    BROKEN_AMX,
    identity="amd",
    instructions=(Instruction("amx_bf16", False, None), Instruction("avx512_bf16", True, True)),
    gemm=(
        GemmSpeed("float32", None, speeds(45, 80)),
        GemmSpeed("float16", None, speeds(14, 14)),
        GemmSpeed("bfloat16", None, speeds(135, 205)),
    ),
    attention=tuple(AttentionTrial(d, "vec", True) for d in ("float32", "float16", "bfloat16")),
)
NO_HALF = replace(
    AMD,
    identity="old",
    gemm=(
        GemmSpeed("float32", None, speeds(45, 80)),
        GemmSpeed("float16", None, speeds(2, 2)),
        GemmSpeed("bfloat16", None, speeds(3, 3)),
    ),
)


def with_gpu(name: str, capability: tuple[int, int], gib: int) -> Hardware:
    gpu = Gpu(0, name, capability, gib * GIB, gib * GIB, ())
    return replace(AMD, identity=name, gemm=(), attention=(), gpus=(gpu,))


def with_gpus(count: int, capability: tuple[int, int], bytes_each: int, *, peers: bool = True) -> Hardware:
    indexes = range(count)
    gpus = tuple(
        Gpu(i, "a GPU", capability, bytes_each, bytes_each, tuple(j for j in indexes if peers and j != i))
        for i in indexes
    )
    return replace(AMD, identity=f"{count} GPUs", gemm=(), attention=(), gpus=gpus)


H100 = with_gpu("H100", (9, 0), 80)
T4 = with_gpu("T4", (7, 5), 16)

SMOLLM2 = ModelFacts(
    architecture="LlamaForCausalLM",
    model_type="llama",
    layers=30,
    hidden_size=576,
    attention_heads=9,
    kv_heads=3,
    head_dim=64,
    vocabulary=49152,
    max_length=8192,
    dtype="bfloat16",
    weight_bytes=269_060_552,
    quantization=None,
)

# config.json of meta-llama/Meta-Llama-3-70B, which Llama-3-Korean-Bllossom-70B shares; its safetensors
# files in 16 bit are 141,107,412,848 bytes, those of a 4-bit AWQ of group 128 are 39,764,000,000.
LLAMA_70B = ModelFacts(
    architecture="LlamaForCausalLM",
    model_type="llama",
    layers=80,
    hidden_size=8192,
    attention_heads=64,
    kv_heads=8,
    head_dim=128,
    vocabulary=128_256,
    max_length=8192,
    dtype="bfloat16",
    weight_bytes=141_107_412_848,
    quantization=None,
)
LLAMA_70B_AWQ = replace(LLAMA_70B, weight_bytes=39_764_000_000, quantization="awq")


def inputs(hardware: Hardware, profile: str = "cpu", **changes: Any) -> PlanInputs:
    facts = changes.pop("facts", SMOLLM2)
    target = Target(
        Path("/models/m"), "SmolLM2-135M-Instruct", changes.pop("version", None), None, None, facts
    )
    wishes = load_profile(profile).model_copy(update=changes.pop("wishes", {}))
    return PlanInputs(
        target=target,
        hardware=hardware,
        profile_name=profile,
        profile=wishes,
        options=ServeOptions(**changes.pop("options", {})),
        available_bytes=changes.pop("available_bytes", 20 * GIB),
        adapters=changes.pop("adapters", ()),
        draft=changes.pop("draft", None),
    )
