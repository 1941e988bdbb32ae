"""Say what vLLM itself says: its options, and what it makes of a KV cache of a given size.

python tests/integration/serving/report_from_vllm.py FOLDER SIZE_BYTES BATCHED_TOKENS

Writes a config.json for each of several shapes into FOLDER/SHAPE, starts the engine on it with dummy weights
and prints one line of JSON: options, paths of the server, and each shape's tokens as the engine counts them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

COMMON: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-6,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 3}
SHAPES: dict[str, dict[str, Any]] = {
    "mha": {**LLAMA, "num_key_value_heads": 4},
    "gqa": {**LLAMA, "num_key_value_heads": 2},
    "mqa": {**LLAMA, "num_key_value_heads": 1},
    "window-everywhere": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "sliding_window": 128,
    },
    "window-in-most": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "num_hidden_layers": 8,
        "num_key_value_heads": 2,
        "sliding_window": 128,
        "layer_types": [*(["sliding_attention"] * 3), "full_attention"] * 2,
        "query_pre_attn_scalar": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    "mla": {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "kv_lora_rank": 64,
        "q_lora_rank": None,
        "qk_rope_head_dim": 32,
        "qk_nope_head_dim": 32,
        "v_head_dim": 32,
        "first_k_dense_replace": 2,  # no layer has experts
    },
}


def write_shapes(folder: Path) -> None:
    for name, shape in SHAPES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({**COMMON, **shape}), encoding="utf-8")


def routes() -> dict[str, list[str]]:
    """Return every path of vLLM's server for text and speech with its methods; ANY where it takes all."""
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(["--model", "none"])
    found: dict[str, list[str]] = {}
    for route in build_app(arguments, ("generate", "transcription"), None).routes:
        methods = getattr(route, "methods", None) or ["ANY"]
        found[str(getattr(route, "path", ""))] = sorted({*found.get(route.path, ()), *methods})
    return found


def main(folder: Path, size_bytes: int, batched_tokens: int) -> None:
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    from vllm import LLM

    from quantserve.serving.planning.options import read_from_engine

    found: dict[str, int] = {}
    for name in SHAPES:
        engine = LLM(
            model=str(folder / name),
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="float32",
            enforce_eager=True,
            attention_backend="CPU_MLA" if "kv_lora_rank" in SHAPES[name] else None,  # as planned for float32
            kv_cache_memory_bytes=size_bytes,
            max_num_batched_tokens=batched_tokens,
            max_num_seqs=8,
        )
        found[name] = int(engine.llm_engine.vllm_config.cache_config.kv_cache_size_tokens or 0)
        del engine
    sys.stdout.write(
        json.dumps({"options": read_from_engine(), "routes": routes(), "kv_cache_tokens": found}) + "\n"
    )


if __name__ == "__main__":
    write_shapes(Path(sys.argv[1]))
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
