"""Ways in which an artifact can be wrong, done to a right one, so that the judge is judged. Needs torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def _norm(tensors: Tensors) -> None:
    """As where a norm that two groups read takes both their scales."""
    tensors["model.layers.0.input_layernorm.weight"][3] /= 2


def _scales(tensors: Tensors) -> None:
    name = next(name for name in tensors if name.endswith("q_proj.scales"))
    tensors[name] *= 1.5


def _order(tensors: Tensors) -> None:
    name = next(name for name in tensors if name.endswith("down_proj.qweight"))
    tensors[name] = tensors[name].flip(0).contiguous()


def _missing(tensors: Tensors) -> None:
    del tensors["model.norm.weight"]


def _extra(tensors: Tensors) -> None:
    tensors["model.layers.2.input_layernorm.weight"] = torch.ones(4)


def _infinite(tensors: Tensors) -> None:
    tensors["model.layers.1.post_attention_layernorm.weight"][0] = float("inf")


WAYS: dict[str, Callable[[Tensors], None]] = {
    "norm": _norm,
    "scales": _scales,
    "order": _order,
    "missing": _missing,
    "extra": _extra,
    "infinite": _infinite,
}


def spoil(artifact: Path, way: str) -> None:
    """Spoil an artifact in one way; `foreign` leaves a file of weights beside its own."""
    weights = artifact / "model.safetensors"
    if way == "foreign":
        shutil.copyfile(weights, artifact / "consolidated.safetensors")
        return
    tensors = load_file(weights)
    WAYS[way](tensors)
    save_file(tensors, weights, {"format": "pt"})
