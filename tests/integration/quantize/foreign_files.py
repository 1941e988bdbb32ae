"""Tiny checkpoints with files in unusual places and values at the edge, written without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.tiny_llama import write_tiny_llama

INDEX = "model.safetensors.index.json"


def shard(directory: Path, base: Path) -> Path:
    """Write the base in two shards with an index; beside them another model's consolidated.safetensors."""
    write_tiny_llama(directory)
    tensors = load_file(base / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    embedding = "model.embed_tokens.weight"
    stray = {"layers.0.attention.wq.weight": np.ones((4, 4), np.float16), embedding: tensors[embedding] * 9}
    save_file(stray, directory / "consolidated.safetensors", {"format": "pt"})
    (directory / "params.json").write_text("{}")
    return directory


def with_values(directory: Path, changes: dict[str, float], dtype: str) -> Path:
    """Write a tiny model whose named tensors begin with a value, in F16, BF16 or F32."""
    write_tiny_llama(directory)
    config = json.loads((directory / "config.json").read_text())
    words = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
    (directory / "config.json").write_text(json.dumps({**config, "dtype": words[dtype]}))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    chunks: list[bytes] = []
    end = 0
    for name, tensor in load_file(directory / "model.safetensors").items():
        values = tensor.astype(np.float32)
        if name in changes:
            values.flat[0] = changes[name]
        if dtype == "F16":
            chunk = values.astype(np.float16).tobytes()
        else:
            chunk = (
                values.tobytes()
                if dtype == "F32"
                else (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
            )
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + len(chunk)]}
        chunks.append(chunk)
        end += len(chunk)
    raw = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(chunks))
    return directory
