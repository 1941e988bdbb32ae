"""How much memory a model needs beside its KV cache, before it is loaded.

Figures are estimates of the resident size; `FIXED_BYTES` was measured (SmolLM2-135M, vLLM 0.32 on CPU).
"""

from __future__ import annotations

from quantserve.serving.kv import ELEMENT_BYTES
from quantserve.serving.model import ModelFacts

GIB = 1 << 30
FIXED_BYTES = int(1.6 * GIB)
"""API server, engine core and worker with nothing loaded."""
FIXED_GPU_BYTES = GIB
"""CUDA context, workspaces and graphs, on each device."""


def weights_in_memory(facts: ModelFacts, dtype: str) -> int:
    """Bytes of the weights once converted to `dtype`; quantized weights stay as they are stored."""
    if facts.quantization is not None:
        return facts.weight_bytes
    return int(facts.weight_bytes * ELEMENT_BYTES.get(dtype, 2) / facts.dtype_bytes)


def nf4_in_memory(facts: ModelFacts) -> int:
    """Bytes of 16-bit weights that are quantized to NF4 while loading; embeddings keep 16 bits.

    A weight takes 4 bits and its share of a scale in 8 bits for 64 weights, whose own scale is 32 bits
    for 256 of them (QLoRA, Dettmers et al. 2023, section 3).
    """
    embeddings = facts.vocabulary * facts.hidden_size * facts.dtype_bytes
    embeddings *= 1 if facts.tied_embeddings else 2
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    linear = (facts.weight_bytes - embeddings) / facts.dtype_bytes
    return int(embeddings + linear * bits / 8)


def activation_bytes(facts: ModelFacts, batched_tokens: int, sequences: int) -> int:
    """Rough peak of one step: a few hidden-sized buffers and the float32 logits of each sequence."""
    hidden = batched_tokens * facts.hidden_size * 4 * 12
    logits = sequences * facts.vocabulary * 4 * 3
    return hidden + logits
