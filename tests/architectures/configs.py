"""Tiny configurations of every decoder: the library's own defaults, shrunk by rules, with few exceptions.

A rule is the name of a size that many configurations share. Rows that name a kind for each layer are cut to
one layer of each kind, so that a hybrid keeps all its kinds. What the rules do not fit stands in `SPECIAL`.
Needs transformers.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

VOCABULARY = 1024
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 128, 256, 4, 2, 32, 2
EXPERTS, EXPERTS_PER_TOKEN, EXPERT_WIDTH = 4, 2, 64
POSITIONS = 1024

_SIZES = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size"), HIDDEN),
    **dict.fromkeys(
        ("intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size"), INTERMEDIATE
    ),
    **dict.fromkeys(("shared_intermediate_size", "ple_embed_dim"), INTERMEDIATE),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "swa_num_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), KV_HEADS),
    **dict.fromkeys(("head_dim", "swa_head_dim", "v_head_dim", "swa_v_head_dim"), HEAD_DIM),
    **dict.fromkeys(("qk_nope_head_dim", "global_head_dim", "linear_head_dim"), HEAD_DIM),
    "qk_rope_head_dim": 2 * HEAD_DIM,
    "qk_head_dim": 3 * HEAD_DIM,
    "query_pre_attn_scalar": HEAD_DIM,
    "q_lora_rank": 64,
    "kv_lora_rank": 512,  # with the rotary part 576, the one size that the engine has a kernel for on a CPU
    "o_lora_rank": 64,
    "o_groups": 2,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length"), POSITIONS),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), EXPERTS_PER_TOKEN),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), EXPERT_WIDTH),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "expert_ffn_hidden_size"), EXPERT_WIDTH),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
    "zero_expert_num": 2,
    **dict.fromkeys(("sliding_window", "sliding_window_size", "attention_chunk_size"), 128),
    "hidden_size_per_layer_input": 32,
    "index_head_dim": 4 * HEAD_DIM,
    "index_n_heads": HEADS,
    "index_topk": 64,
    "laurel_rank": 32,
    **dict.fromkeys(("state_size", "ssm_state_size", "mamba_d_state"), 16),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 32),
    # so many that a mixer's input projection has a multiple of 32 rows, as in the models of this kind
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 32),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 8),
    "mamba_d_ssm": 2 * HIDDEN,
    # of vision towers
    "num_heads": HEADS,
    "depth": LAYERS,
    "num_position_embeddings": 64,
    **dict.fromkeys(("out_hidden_size", "vision_output_dim", "projector_input_dim"), HIDDEN),
    **dict.fromkeys(("projector_output_dim",), HIDDEN),
    "image_size": 56,
    "patch_size": 14,
    **dict.fromkeys(("n_groups", "mamba_n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("chunk_size", "mamba_chunk_size"), 32),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_num_heads": 4,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 4 * HEAD_DIM),  # the kernel's size
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0),
}
_ROWS = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types")
_PARTS = ("text_config", "vision_config", "audio_config")

_SLIDING_AND_FULL = ["sliding_attention", "full_attention"]
_ROPE_BY_KIND = {kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in _SLIDING_AND_FULL}
_ROPE_IN_THREE = {kind: {**rope, "mrope_section": [5, 5, 6]} for kind, rope in _ROPE_BY_KIND.items()}

# Where the library's default is None, or a size means something else, or kinds are not named layer by layer.
SPECIAL: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": _ROPE_IN_THREE, "layer_types": _SLIDING_AND_FULL},
    "dbrx": {
        "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {
            "hidden_size": HIDDEN,
            "ffn_hidden_size": EXPERT_WIDTH,
            "moe_num_experts": EXPERTS,
            "moe_top_k": EXPERTS_PER_TOKEN,
        },
    },
    "afmoe": {"score_func": "sigmoid", "route_norm": True},  # read by the engine alone
    "deepseek_v2": {"num_experts_per_tok": EXPERTS_PER_TOKEN},
    "deepseek_v3": {"topk_method": "noaux_tc", "scoring_func": "sigmoid"},  # read by the engine alone
    # its compressors read whole blocks of so many tokens
    "deepseek_v4": {
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 16},
        "num_key_value_heads": 1,
        "qk_rope_head_dim": HEAD_DIM,
        "index_head_dim": HEAD_DIM,
        "index_topk": 16,
    },
    "ernie4_5_moe": {"moe_layer_start_index": 1, "moe_layer_end_index": 1},
    "falcon": {"num_kv_heads": HEADS, "ffn_hidden_size": 4 * HIDDEN},  # the engine knows no other width
    "gemma3n_text": {
        "layer_types": [*_SLIDING_AND_FULL, *_SLIDING_AND_FULL],
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
        "intermediate_size": [INTERMEDIATE] * 4,
    },
    "glm4_moe": {"head_dim": HEAD_DIM},
    "glm4_moe_lite": {"first_k_dense_replace": 1},  # read by the engine alone
    "gptj": {"rotary_dim": 16},
    "hrm_text": {"num_layers_per_stack": 1},
    "hy_v3": {"first_k_dense_replace": 1},  # read by the engine alone
    "hunyuan_v1_dense": {"head_dim": HEAD_DIM},
    "hunyuan_v1_moe": {"head_dim": HEAD_DIM},
    # dense and sparse layers, each with the state-space mixer and with attention
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 4,
        "attn_layer_offset": 2,
        "use_mamba_kernels": False,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"interleave_moe_layer_step": 2},
    "llama4_vision_model": {"intermediate_size": 4 * HIDDEN},
    "longcat_flash": {"mla_scale_q_lora": True, "mla_scale_kv_lora": True},  # read by the engine alone
    "minimax_m2": {"rotary_dim": HEAD_DIM},  # read by the engine alone
    "mamba2": {"head_dim": 8, "num_heads": 32},
    "ministral": {"head_dim": HEAD_DIM},
    "nemotron": {"head_dim": HEAD_DIM, "num_key_value_heads": KV_HEADS},
    "qwen4_exp_text": {
        "hc_lowrank": 32,
        "indexer_n_heads": HEADS,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD_DIM,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "whisper": dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS)
    | dict.fromkeys(("encoder_layers", "decoder_layers"), LAYERS)
    | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), INTERMEDIATE)
    | {"max_target_positions": POSITIONS},
    "zamba2": {
        "num_key_value_heads": HEADS,
        "attention_head_dim": 2 * HEAD_DIM,
        "use_mamba_kernels": False,
    },
}


def tiny(model_type: str, **changes: Any) -> PretrainedConfig:
    """Return the tiny configuration of a type; `changes` have the last word."""
    default = AutoConfig.for_model(model_type)
    sizes = {**shrunk(default), **SPECIAL.get(model_type, {}), **changes}
    return AutoConfig.for_model(model_type, **sizes)


def shrunk(default: PretrainedConfig) -> dict[str, Any]:
    """Return the settings in which the tiny configuration differs from the default one."""
    known = default.to_dict()
    sizes: dict[str, Any] = {name: size for name, size in _SIZES.items() if known.get(name) is not None}
    kinds = {name: list(dict.fromkeys(known[name])) for name in _ROWS if known.get(name)}
    if "kv_lora_rank" in sizes and "num_key_value_heads" in sizes:
        sizes["num_key_value_heads"] = HEADS  # one latent for all heads
        if "head_dim" in sizes:
            sizes["head_dim"] = sizes["qk_rope_head_dim"]
    layers = max([LAYERS, *map(len, kinds.values())])
    for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if name in sizes:
            sizes[name] = layers
    for name, row in kinds.items():
        sizes[name] = [row[place % len(row)] for place in range(layers)]
    for name in _PARTS:
        part = getattr(default, name, None)
        if isinstance(part, PretrainedConfig):
            special = SPECIAL.get(part.model_type, {})
            sizes[name] = {**shrunk(part), **special, "model_type": part.model_type}
    return sizes
