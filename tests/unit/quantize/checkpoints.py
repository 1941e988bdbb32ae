"""Makes small checkpoint directories byte by byte, without torch."""

from __future__ import annotations

import json
from pathlib import Path

from quantserve.quantize.models.checks import Checkpoint
from quantserve.quantize.models.structure import Structure

TENSORS = {
    "model.embed_tokens.weight": (96, 64),
    "model.layers.0.self_attn.q_proj.weight": (64, 64),
    "model.layers.0.mlp.down_proj.weight": (64, 128),
    "model.norm.weight": (64,),
}


def safetensors_bytes(tensors: dict[str, tuple[int, ...]]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(end)


def make_checkpoint(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "tokenizer_config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(safetensors_bytes(TENSORS))
    return directory


def llama_structure(checkpoint: Checkpoint) -> Structure:
    """Return what building a Llama would show: every matrix of its layers is linear."""
    linear = {
        name.removesuffix(".weight"): (info.shape[0], info.shape[1])
        for name, info in checkpoint.tensors.items()
        if ".layers." in name and len(info.shape) == 2
    }
    return Structure(
        architecture="LlamaForCausalLM",
        layers=len({name.split(".")[2] for name in linear}),
        linear=tuple(linear),
        experts=(),
        unquantized={},
        sizes=linear,
        stored={name: name for name in checkpoint.tensors},
        merged={},
        blocks=(),
    )
