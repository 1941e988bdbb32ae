"""Spoil a finished artifact in one way after the other and ask the proof; print what it says as JSON.

    python prove_spoiled.py BASE ARTIFACT

Runs in the quantize environment; `test_proof.py` reads it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file

from quantserve.quantize.artifact import read_manifest
from quantserve.quantize.methods.formats.checkpoint import read_config, stored_dtype
from quantserve.quantize.methods.formats.layouts import layout_of
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED
from quantserve.quantize.methods.proof.bounds import ProofFailed, prove
from quantserve.quantize.methods.registry import METHODS
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.models.inspection import inspect

Tensors = dict[str, torch.Tensor]
LAYER = "model.layers.1"


def _norm_divided_twice(tensors: Tensors) -> None:
    tensors[f"{LAYER}.input_layernorm.weight"] /= torch.linspace(0.5, 2.0, 128).to(torch.bfloat16)


def _one_scale_doubled(tensors: Tensors) -> None:
    tensors[_scale(tensors, f"{LAYER}.mlp.down_proj")] *= 2


def _rows_swapped(tensors: Tensors) -> None:
    name = next(n for n in tensors if n.startswith(f"{LAYER}.mlp.up_proj") and tensors[n].dtype in _CODES)
    tensors[name] = tensors[name].flip(0).contiguous()


def _not_a_number(tensors: Tensors) -> None:
    tensors["model.norm.weight"][3] = float("nan")


def _one_code_moved(tensors: Tensors) -> None:
    """Another value in one weight of 4 or 8 bits: no damage, and no reason to refuse."""
    name = next(n for n in tensors if n.startswith(f"{LAYER}.mlp.up_proj") and tensors[n].dtype in _CODES)
    tensors[name].view(-1)[0] ^= 1


_CODES = (torch.int8, torch.int32)
WAYS: dict[str, Callable[[Tensors], None]] = {
    "as made": lambda tensors: None,
    "one code moved": _one_code_moved,
    "norm divided twice": _norm_divided_twice,
    "one scale doubled": _one_scale_doubled,
    "rows swapped": _rows_swapped,
    "not a number": _not_a_number,
}


def _scale(tensors: Tensors, module: str) -> str:
    return next(n for n in tensors if n.startswith(module) and n.endswith(("scales", "weight_scale")))


def asked(base: Path, artifact: Path, way: Callable[[Tensors], None]) -> str:
    """Return "" where the proof holds, and else what it says."""
    manifest = read_manifest(artifact)
    known = METHODS[manifest.method].options
    options = known(
        **{
            k: tuple(v) if isinstance(v, list) else v
            for k, v in manifest.parameters.items()
            if k in known.__dataclass_fields__
        }
    )
    layout = layout_of(manifest.method, options, dict.fromkeys(manifest.unquantized, UNQUANTIZED))
    with TemporaryDirectory() as folder:
        spoiled = Path(folder) / "artifact"
        shutil.copytree(artifact, spoiled)
        tensors = load_file(spoiled / "model.safetensors")
        way(tensors)
        save_file(tensors, spoiled / "model.safetensors", {"format": "pt"})
        structure = inspect(check_checkpoint(base))
        try:
            prove(base, spoiled, layout, structure, [], stored_dtype(read_config(base), layout))
        except ProofFailed as error:
            return str(error)
    return ""


def main() -> None:
    """Print what the proof says of each way."""
    base, artifact = map(Path, sys.argv[1:])
    print(json.dumps({name: asked(base, artifact, way) for name, way in WAYS.items()}))


if __name__ == "__main__":
    main()
