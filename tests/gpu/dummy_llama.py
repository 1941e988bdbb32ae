"""A checkpoint of a Llama's shape that takes no disk: real headers and sizes, weights left to the engine.

The weights' file is sparse; the engine is started with `--load-format dummy` and never reads it. Speed and
memory depend on shapes alone, so they are those of a real model; what it says means nothing.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from quantserve.quantize.methods.formats.layouts import Format, Layout, settings

VOCABULARY, KV_HEADS, HEAD_DIM = 128256, 8, 128
LENGTH = 8192
_BYTES = {"F32": 4, "I32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1}


@dataclass(frozen=True)
class Shape:
    """What differs between the sizes of Llama 3."""

    hidden: int
    intermediate: int
    layers: int
    heads: int

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of a layer's matrices."""
        queries, keys = self.heads * HEAD_DIM, KV_HEADS * HEAD_DIM
        return {
            "self_attn.q_proj": (queries, self.hidden),
            "self_attn.k_proj": (keys, self.hidden),
            "self_attn.v_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, queries),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }


LLAMA_8B = Shape(4096, 14336, 32, 32)
LLAMA_70B = Shape(8192, 28672, 80, 64)
_BITS: dict[Format, int] = {"fp8": 8, "int8": 8, "gptq": 4, "awq": 4}
_BY_GROUP, _GROUP = ("gptq", "awq"), 128


def write_dummy_llama(directory: Path, form: Format | None, shape: Shape = LLAMA_8B) -> Path:
    """Write the checkpoint in bfloat16, or in one of our methods' layouts."""
    directory.mkdir(parents=True)
    _write_tokenizer(directory)
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16" if form in _BY_GROUP else "bfloat16",
        "vocab_size": VOCABULARY,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1,
    }
    if form is not None:
        size = _GROUP if form in _BY_GROUP else -1
        config["quantization_config"] = settings(Layout(form, _BITS[form], size, form != "awq", {}))
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _write_sparse(directory / "model.safetensors", tensors(form, shape))
    return directory


def tensors(form: Format | None, shape: Shape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of every tensor by name; the engine looks there for what is quantized."""
    half = "F16" if form in _BY_GROUP else "BF16"
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens.weight": (half, (VOCABULARY, shape.hidden)),
        "model.norm.weight": (half, (shape.hidden,)),
        "lm_head.weight": (half, (VOCABULARY, shape.hidden)),
    }
    for layer in range(shape.layers):
        stem = f"model.layers.{layer}"
        for name, (rows, columns) in shape.linear.items():
            for suffix, described in _linear(form, rows, columns).items():
                found[f"{stem}.{name}.{suffix}"] = described
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{stem}.{norm}.weight"] = (half, (shape.hidden,))
    return found


def _linear(form: Format | None, rows: int, columns: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    if form in ("fp8", "int8"):
        stored = "F8_E4M3" if form == "fp8" else "I8"
        return {"weight": (stored, (rows, columns)), "weight_scale": ("F32", (rows, 1))}
    groups = columns // _GROUP
    common = {"qzeros": ("I32", (groups, rows // 8)), "scales": ("F16", (groups, rows))}
    if form == "gptq":
        return {"qweight": ("I32", (columns // 8, rows)), **common, "g_idx": ("I32", (columns,))}
    if form == "awq":
        return {"qweight": ("I32", (columns, rows // 8)), **common}
    return {"weight": ("BF16", (rows, columns))}


def _write_sparse(path: Path, wanted: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    header: dict[str, object] = {}
    end = 0
    for name, (dtype, shape) in wanted.items():
        start, end = end, end + math.prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    os.truncate(path, 8 + len(raw) + end)


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
