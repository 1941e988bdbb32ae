"""Make deliberately wrong artifacts of a good one: what a gate must not let through.

    .venvs/rag/bin/python -m tests.damage ARTIFACT OUT [KIND …]

Each kind is a fault that was met or can be made: weights, tokenizer or settings, in a copy whose manifest
fits what it holds, so that nothing but the gate's own measurement can tell.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from quantserve.quantize.artifact import MANIFEST, file_records, read_manifest, write_manifest

Tensors = dict[str, torch.Tensor]
_SEED = 7
_LEFT_OUT = {MANIFEST, "report.json", "report.html", "README.md"}


def _layers(tensors: Tensors) -> int:
    return 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("model.layers."))


def _middle(tensors: Tensors) -> str:
    return f"model.layers.{_layers(tensors) // 2}."


def _scale(tensors: Tensors, matrix: str) -> str:
    """Return the name of a matrix's scales, by whatever layout; the matrix itself where it has none."""
    for end in ("weight_scale", "scales", "weight"):
        if f"{matrix}.{end}" in tensors:
            return f"{matrix}.{end}"
    raise KeyError(matrix)


def _codes(tensors: Tensors, matrix: str) -> str:
    for end in ("weight", "weight_packed", "qweight"):
        if f"{matrix}.{end}" in tensors:
            return f"{matrix}.{end}"
    raise KeyError(matrix)


def _fold(tensors: Tensors, name: str) -> None:
    """Divide a norm by the scale of a second group of its readers, whose weights do not take it up."""
    spread = torch.exp(0.5 * torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(_SEED)))
    tensors[name] = (tensors[name].float() / spread).to(tensors[name].dtype)


def norm_folded_twice(tensors: Tensors) -> None:
    """Every input norm is divided once more, as for a second group of linears that reads it."""
    for layer in range(_layers(tensors)):
        _fold(tensors, f"model.layers.{layer}.input_layernorm.weight")


def norm_folded_twice_in_one_layer(tensors: Tensors) -> None:
    """The same in one layer only."""
    _fold(tensors, f"{_middle(tensors)}input_layernorm.weight")


def scales_doubled(tensors: Tensors) -> None:
    """One matrix is twice what it was."""
    name = _scale(tensors, f"{_middle(tensors)}mlp.down_proj")
    tensors[name] = tensors[name] * 2


def scales_zeroed(tensors: Tensors) -> None:
    """One matrix is nought."""
    name = _scale(tensors, f"{_middle(tensors)}self_attn.o_proj")
    tensors[name] = tensors[name] * 0


def sign_flipped(tensors: Tensors) -> None:
    """One matrix has its sign turned round."""
    name = _scale(tensors, f"{_middle(tensors)}mlp.up_proj")
    tensors[name] = -tensors[name]


def rows_permuted(tensors: Tensors) -> None:
    """One layer's matrices have their rows in another order."""
    generator = torch.Generator().manual_seed(_SEED)
    for matrix in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"):
        name = _codes(tensors, f"{_middle(tensors)}{matrix}")
        tensors[name] = tensors[name][torch.randperm(len(tensors[name]), generator=generator)].contiguous()


def layers_exchanged(tensors: Tensors) -> None:
    """Two layers stand in each other's place."""
    one, other = f"model.layers.{_layers(tensors) // 3}.", _middle(tensors)
    held = {name: tensors[name] for name in tensors if name.startswith((one, other))}
    for name, value in held.items():
        tensors[name.replace(one, other) if name.startswith(one) else name.replace(other, one)] = value


def coarse_codes(tensors: Tensors) -> None:
    """Every eight-bit code keeps its three highest bits."""
    for name, value in tensors.items():
        if value.dtype == torch.int8:
            tensors[name] = (value // 32 * 32).to(torch.int8)


def nan_in_a_scale(tensors: Tensors) -> None:
    """One scale is no number."""
    name = _scale(tensors, f"{_middle(tensors)}mlp.gate_proj")
    tensors[name].view(-1)[0] = float("nan")


def nan_in_a_norm(tensors: Tensors) -> None:
    """One weight of a norm is no number, so that every token's state becomes none."""
    tensors[f"{_middle(tensors)}input_layernorm.weight"][0] = float("nan")


def nan_in_the_last_norm(tensors: Tensors) -> None:
    """The same in the norm before the vocabulary, which no quantization washes away: every logit is NaN."""
    tensors["model.norm.weight"][0] = float("nan")


def infinite_norm(tensors: Tensors) -> None:
    """One weight of a norm is beyond the number format's range."""
    tensors[f"{_middle(tensors)}post_attention_layernorm.weight"][0] = float("inf")


def tokenizer_swapped(directory: Path) -> None:
    """The tokenizer gives ordinary words each other's numbers."""
    path = directory / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = value["model"]["vocab"]
    special = {entry["id"] for entry in value["added_tokens"]}
    words = [word for word, number in vocabulary.items() if number not in special and len(word) > 3]
    numbers = [vocabulary[word] for word in words]
    random.Random(_SEED).shuffle(numbers)
    vocabulary.update(zip(words, numbers, strict=True))
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def end_token_lost(directory: Path) -> None:
    """The token that ends an answer is another one."""
    for name in ("generation_config.json", "config.json"):
        path = directory / name
        if path.is_file():
            value = json.loads(path.read_text(encoding="utf-8"))
            value["eos_token_id"] = 5
            path.write_text(json.dumps(value), encoding="utf-8")


WEIGHTS: dict[str, Callable[[Tensors], None]] = {
    change.__name__: change
    for change in (
        *(norm_folded_twice, norm_folded_twice_in_one_layer, scales_doubled, scales_zeroed, sign_flipped),
        *(rows_permuted, layers_exchanged, coarse_codes, nan_in_a_scale, nan_in_a_norm),
        *(nan_in_the_last_norm, infinite_norm),
    )
}
FILES: dict[str, Callable[[Path], None]] = {
    change.__name__: change for change in (tokenizer_swapped, end_token_lost)
}


def damage(artifact: Path, out: Path, kind: str) -> Path:
    """Copy an artifact to OUT/NAME/KIND with one fault in it, and return that directory."""
    manifest = read_manifest(artifact)
    directory = out / manifest.name / kind
    directory.mkdir(parents=True)
    for path in artifact.iterdir():
        if path.name not in _LEFT_OUT:
            shutil.copy2(path, directory / path.name)
    if kind in FILES:
        FILES[kind](directory)
    else:
        for path in directory.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            WEIGHTS[kind](tensors)
            save_file(tensors, path, metadata)
    changes = {"version": kind, "files": file_records(directory)}
    write_manifest(directory, manifest.model_copy(update=changes))
    return directory


if __name__ == "__main__":
    for one in sys.argv[3:] or [*WEIGHTS, *FILES]:
        print(damage(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), one))
