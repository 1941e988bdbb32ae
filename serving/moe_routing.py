"""Let vLLM's quantized mixture kernels for AMX take every way of choosing experts.

vLLM 0.32's `CPUExpertsInt8` and `CPUExpertsInt4` say that they take softmax routing alone. They are modular:
the router chooses before them, and they are handed each token's experts and weights, however those were
found. Left out is what needs more than that: Llama 4 weighs a token before its expert.
"""

from __future__ import annotations

from typing import Any

from vllm.model_executor.layers.fused_moe.config import RoutingMethodType
from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUExpertsInt4, CPUExpertsInt8


def _any_but_weighed_before(routing: Any, weight_key: Any, activation_key: Any) -> bool:
    return bool(routing != RoutingMethodType.Llama4)


def take_any_routing() -> None:
    """Let both kernels take any routing; before the model is built, which chooses the kernel."""
    for kernel in (CPUExpertsInt8, CPUExpertsInt4):
        kernel._supports_routing_method = staticmethod(_any_but_weighed_before)
