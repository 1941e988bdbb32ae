"""What make_layouts.py makes, and what is expected of it."""

from __future__ import annotations

from typing import Any

PROMPT = [5, 77, 140, 9, 33, 201, 64, 18, 99, 150, 7, 250]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gptq": ("gptq", {"symmetric": True}),
    "gptq kept": ("gptq", {"symmetric": True, "precision_override": ("layers.0.mlp.down_proj",)}),
    "packed": ("gptq", {"symmetric": True, "layout": "packed"}),
    "awq": ("gptq", {}),
    "awq kept": ("awq", {"precision_override": ("layers.1.self_attn.*",)}),
    "mixed": (
        "gptq",
        {
            "scale_channels": True,
            "precision_override": ("layers.0.mlp.down_proj=8", "layers.1.mlp.down_proj"),
        },
    ),
    "mixed symmetric": ("rtn", {"symmetric": True, "precision_override": ("layers.0.mlp.down_proj=8",)}),
    "int8": ("int8", {"smoothing": 0.0}),
    "int8 calibrated": ("int8", {"feedback": True, "precision_override": ("layers.1.mlp.down_proj",)}),
    "rtn": ("rtn", {}),
    "w2": ("gptq", {"bits": 2}),
    "w8": ("gptq", {"bits": 8, "symmetric": True, "scale_channels": True}),
    "fp8": ("fp8", {}),
    "llm_int8": ("bitsandbytes", {"bits": 8}),
}
# Methods that keep their layers' codes, against which the files are compared.
BITS_EXACT = ("gptq", "gptq kept", "packed", "awq", "awq kept", "mixed", "int8 calibrated", "w2", "w8")
# Largest relative error of a weight matrix, by the nearest of 2^bits levels in groups of 32 or by row.
# INT8 here feeds back what rounding loses: its weights lie farther off, its outputs nearer.
ERROR = {"rtn": 0.1, "int8": 0.015, "fp8": 0.04, "llm_int8": 0.01}
# Largest difference of a log-probability between the engine's 16-bit kernels and float32 on the same
# weights; INT8 also rounds activations, and so do AMD's kernels for packed weights. A wrong zero point or
# order gives 1 and more.
ON_CPU = {"gptq kept": 0.2, "packed": 0.4, "awq kept": 0.2, "mixed": 0.4, "int8 calibrated": 0.4}
