"""The shapes of the matrix: one of every decoder, and variants in what makes a difference to a quantizer.

Pure: what a configuration is stands in configs.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
REGISTRY = HERE / "registry.json"
"""Model types that transformers and the engine both know, by the class of transformers; see registry.py."""

Dtype = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class Shape:
    """A tiny checkpoint.

    changes: settings beside those of configs.py. shard: bytes of the largest weight file.
    spoil: what is wrong or unusual with a weight: `nan`, or `large`, beyond float16's range.
    """

    name: str
    model_type: str
    changes: dict[str, Any] = field(default_factory=dict)
    dtype: Dtype = "bfloat16"
    shard: int | None = None
    spoil: Literal["nan", "large"] | None = None


NOT_MADE = {
    "bert": "an encoder: the engine embeds and classifies with it",
    "emu3": "draws images too, and its image tokenizer has no default size; the text part is Llama's",
    "gemma3n": "its vision tower needs timm; the text part is gemma3n_text",
    "roberta": "an encoder: the engine embeds and classifies with it",
    "whisper": "an encoder and a decoder: the engine transcribes with it",
    "xlm-roberta": "an encoder: the engine embeds and classifies with it",
}
"""Types of the registry without a shape, and why."""

# Served by the engine's general path for transformers' classes.
_BEYOND_THE_REGISTRY = ("diffllama", "helium", "ministral", "nanochat")

_DENSE_LATENT = {"first_k_dense_replace": 2, "n_shared_experts": 1}
_VARIANTS = (
    Shape("arcee_bias", "arcee", {"mlp_bias": True, "attention_bias": True}),
    Shape("bloom_post_residual", "bloom", {"apply_residual_connection_post_layernorm": True}),
    Shape("cohere_qk_norm", "cohere", {"use_qk_norm": True}),
    Shape("deepseek_v2_dense", "deepseek_v2", {**_DENSE_LATENT, "q_lora_rank": None}),
    Shape("deepseek_v2_dense_q_lora", "deepseek_v2", _DENSE_LATENT),
    Shape("falcon_bias", "falcon", {"bias": True, "parallel_attn": False, "multi_query": False}),
    Shape("falcon_alibi", "falcon", {"alibi": True, "parallel_attn": False, "bias": True}),
    Shape("falcon_new_decoder", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    Shape("gemma4_moe", "gemma4_text", {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2,
                                        "moe_intermediate_size": 64}),
    Shape("gpt2_float32", "gpt2", dtype="float32"),
    Shape("gpt_bigcode_heads", "gpt_bigcode", {"multi_query": False}),
    Shape("gpt_neox_sequential", "gpt_neox", {"use_parallel_residual": False}),
    Shape("granite_tied_multipliers", "granite", {"tie_word_embeddings": True, "residual_multiplier": 0.5,
                                                  "embedding_multiplier": 2.0, "logits_scaling": 2.0}),
    Shape("llama_bias", "llama", {"attention_bias": True, "mlp_bias": True}),
    Shape("llama_float16", "llama", dtype="float16"),
    Shape("llama_float32", "llama", dtype="float32"),
    Shape("llama_large", "llama", spoil="large"),
    Shape("llama_mha", "llama", {"num_key_value_heads": 4}),
    Shape("llama_nan", "llama", spoil="nan"),
    Shape("llama_shards", "llama", shard=200_000),
    Shape("llama_tied", "llama", {"tie_word_embeddings": True}),
    Shape("llama_wide_heads", "llama", {"head_dim": 64}),
    Shape("mixtral_shards", "mixtral", shard=200_000),
    Shape("olmo_clip", "olmo", {"clip_qkv": 2.0, "num_key_value_heads": 4}),
    Shape("opt_350m", "opt", {"word_embed_proj_dim": 64, "do_layer_norm_before": False}),
    Shape("phi_qk_norm", "phi", {"qk_layernorm": True}),
    Shape("phi_float16", "phi", dtype="float16"),
    Shape("phi3_partial_rotary", "phi3", {"partial_rotary_factor": 0.5, "tie_word_embeddings": True}),
    Shape("qwen2_tied", "qwen2", {"tie_word_embeddings": True}),
    Shape("qwen2_moe_one_dense", "qwen2_moe", {"mlp_only_layers": [0]}),
    Shape("qwen3_tied_shards", "qwen3", {"tie_word_embeddings": True}, shard=200_000),
    Shape("qwen3_next_dense", "qwen3_next", {"mlp_only_layers": [0, 1], "num_experts": 0}),
    Shape("stablelm_parallel", "stablelm", {"use_parallel_residual": True}),
    Shape("stablelm_qkv_bias", "stablelm", {"use_qkv_bias": True}),
    Shape("stablelm_parallel_qk_norm", "stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    Shape("starcoder2_untied", "starcoder2", {"tie_word_embeddings": False}),
)  # fmt: skip


def registry() -> dict[str, str]:
    """Return the registry's model types, each with the class of transformers."""
    types: dict[str, str] = json.loads(REGISTRY.read_text(encoding="utf-8"))["types"]
    return types


def all_shapes() -> dict[str, Shape]:
    """Return every shape by name, in the order of names."""
    types = [name for name in registry() if name not in NOT_MADE]
    found = [*(Shape(name, name) for name in (*types, *_BEYOND_THE_REGISTRY)), *_VARIANTS]
    return {shape.name: shape for shape in sorted(found, key=lambda shape: shape.name)}
