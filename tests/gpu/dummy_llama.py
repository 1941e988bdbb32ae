"""A checkpoint of an 8B Llama's shape that takes no disk: real headers and sizes, weights left to the engine.

The weights' file is sparse; the engine is started with `--load-format dummy` and never reads it. Speed and
memory depend on shapes alone, so they are those of a real model; what it says means nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from quantize.methods.formats import Format, Layout, settings

VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 128256, 4096, 14336, 32, 32, 8, 128
LENGTH = 8192
_HALF_BYTES = 2
_FORMATS: dict[str, tuple[Format, int]] = {"fp8": ("fp8", 8), "gptq": ("gptq", 4)}
_GROUP = 128


def write_dummy_llama(directory: Path, method: str | None) -> Path:
    """Write the checkpoint in bfloat16, or quantized by fp8 or gptq, as our methods write it."""
    directory.mkdir(parents=True)
    _write_tokenizer(directory)
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16" if method == "gptq" else "bfloat16",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1,
    }
    if method is not None:
        form, bits = _FORMATS[method]
        config["quantization_config"] = settings(
            Layout(form, bits, _GROUP if form == "gptq" else -1, True, {})
        )
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _write_sparse(directory / "model.safetensors", weight_bytes(method))
    return directory


def weight_bytes(method: str | None) -> int:
    """Return what the weights take, in bytes."""
    attention = HIDDEN * (HEADS + 2 * KV_HEADS + HEADS) * HEAD_DIM
    linear = LAYERS * (attention + 3 * HIDDEN * INTERMEDIATE)
    embeddings = 2 * VOCABULARY * HIDDEN * _HALF_BYTES
    if method is None:
        return linear * _HALF_BYTES + embeddings
    if method == "fp8":
        return linear + embeddings
    scales = linear // _GROUP * _HALF_BYTES
    zeros = linear // _GROUP // 2
    return linear // 2 + scales + zeros + embeddings


def _write_sparse(path: Path, size: int) -> None:
    header = json.dumps({"weights": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)


def _write_tokenizer(directory: Path) -> None:
    """Write a tokenizer that gives every id of the vocabulary a word, so that any answer can be read."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"w{number}" for number in range(VOCABULARY - len(alphabet)))]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": words[-1], "bos_token": words[-2]}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
