"""Quantize a tiny model in every layout and print, as JSON, how the files agree with the layers' own codes.

    python make_layouts.py BASE HOME

Runs in the quantize environment. Each HOME/CASE/checkpoint is unpacked here straight from the published
formats (AutoGPTQ, AutoAWQ, compressed-tensors' library) and compared with what the method meant to write.
`reference` holds the log-probabilities that the unpacked weights give a prompt, in float32.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quantserve.quantize.calibration.documents import Document, Group
from quantserve.quantize.methods.job import QuantizationJob
from quantserve.quantize.methods.layers import rounding
from quantserve.quantize.methods.layers.layer_files import LayerFiles
from quantserve.quantize.methods.layers.rounding import (
    GridOptions,
    choose_grid,
    round_to_nearest,
    round_with_feedback,
)
from quantserve.quantize.methods.layers.scaling import InputStatistics, awq_scale, output_loss
from quantserve.quantize.methods.registry import make_options, method_named
from quantserve.quantize.methods.work import quantize
from quantserve.quantize.models.checks import check_checkpoint
from quantserve.quantize.models.inspection import inspect
from tests.integration.quantize.load_with_transformers import dequantize
from tests.integration.quantize.make_layouts_cases import CASES, PROMPT


def text() -> list[Group]:
    words = ["quick", "brown", "fox", "jumps", "over", "lazy", "dog", "while", "rain", "falls"]
    chosen = random.Random(3)
    documents: list[Document] = [" ".join(chosen.choice(words) for _ in range(400)) for _ in range(3)]
    return [{"source": "test", "weight": 1.0, "documents": documents}]


def unpack(directory: Path) -> dict[str, torch.Tensor]:
    """Return every weight a checkpoint stands for, in float32."""
    settings = json.loads((directory / "config.json").read_text())["quantization_config"]
    if settings["quant_method"] in ("gptq", "awq") and settings["bits"] == 4:
        return dequantize(directory)
    tensors = load_file(directory / "model.safetensors")
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, suffix = name.rpartition(".")
        if suffix == "weight_packed":
            weights[f"{stem}.weight"] = unpack_compressed(tensors, stem, settings)
        elif suffix == "qweight":
            weights[f"{stem}.weight"] = unpack_eight(tensors, stem, settings["group_size"])
        elif suffix == "weight" and f"{stem}.weight_scale" in tensors:
            weights[name] = tensor.float() * tensors[f"{stem}.weight_scale"]
        elif suffix == "weight" and f"{stem}.SCB" in tensors:
            weights[name] = tensor.float() * tensors[f"{stem}.SCB"][:, None] / 127
        elif suffix in ("weight", "bias"):
            weights[name] = tensor.float()
    return weights


def unpack_compressed(tensors: dict[str, torch.Tensor], stem: str, settings: dict[str, Any]) -> torch.Tensor:
    groups = settings["config_groups"].values()
    bits = next(g["weights"]["num_bits"] for g in groups if g["format"] == "pack-quantized")
    shape = torch.Size(tensors[f"{stem}.weight_shape"].tolist())
    codes = unpack_from_int32(tensors[f"{stem}.weight_packed"], bits, shape).float()
    scales = tensors[f"{stem}.weight_scale"].float()
    zeros = torch.zeros_like(scales)
    if f"{stem}.weight_zero_point" in tensors:
        packed = tensors[f"{stem}.weight_zero_point"]
        zeros = unpack_from_int32(packed, bits, scales.shape, packed_dim=0).float()
    each = shape[1] // scales.shape[1]
    weights: torch.Tensor = (codes - zeros.repeat_interleave(each, 1)) * scales.repeat_interleave(each, 1)
    return weights


def unpack_eight(tensors: dict[str, torch.Tensor], stem: str, size: int) -> torch.Tensor:
    packed, scales = tensors[f"{stem}.qweight"], tensors[f"{stem}.scales"].float()
    codes = torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16, 24)], 1).reshape(-1, packed.shape[1])
    zeros = torch.stack([(tensors[f"{stem}.qzeros"] >> s) & 255 for s in (0, 8, 16, 24)], 2).flatten(1) + 1
    group = torch.arange(codes.shape[0]) // size
    weights: torch.Tensor = ((codes - zeros[group]) * scales[group]).T
    return weights


def intended(case: Path) -> dict[str, torch.Tensor]:
    """Return the weights the finished layers hold, where the method kept layers."""
    files = LayerFiles(case / "layers")
    found: dict[str, torch.Tensor] = {}
    for index in range(files.count()):
        quantized = files.read(index).quantized
        found |= {f"{name}.weight": value.dequantize() for name, value in quantized.items()}
    return found


def log_probabilities(base: Path, weights: dict[str, torch.Tensor]) -> list[float]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT])).logits[0, :-1]
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(PROMPT[1:])[:, None])
    result: list[float] = chosen.flatten().tolist()
    return result


def losses() -> dict[str, float]:
    """Return the outputs' mean square error of one matrix, whose inputs depend on each other, by method."""
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(64, 64, generator=generator) @ torch.diag(torch.logspace(-1, 1, 64))
    inputs = InputStatistics.of(torch.randn(4096, 64, generator=generator) @ mixed)
    weights = torch.randn(96, 64, generator=generator)
    options = GridOptions(4, symmetric=False)
    nearest = round_to_nearest(weights, 32, options).dequantize()
    feedback = round_with_feedback(weights, inputs.hessian, 32, options, damping=0.01, important_first=True)
    scale = awq_scale(
        weights, inputs, lambda w: round_to_nearest(w, 32, options).dequantize(), shared=lambda one: one
    )
    scaled = nearest if scale is None else round_to_nearest(weights * scale, 32, options).dequantize() / scale
    found = {"nearest": nearest, "feedback": feedback.dequantize(), "scaled": scaled}
    return {name: output_loss(value - weights, inputs.hessian).item() for name, value in found.items()}


def same_in_any_steps() -> dict[str, bool]:
    """Say whether the search for scales finds the same in a CPU's small steps and in a GPU's large ones."""
    weights = torch.randn(600, 32, generator=torch.Generator().manual_seed(2))
    found = {}
    for symmetric in (True, False):
        options = GridOptions(4, symmetric=symmetric)
        small = choose_grid(weights, options)
        with patch.object(rounding, "_ROWS", 10_000):
            large = choose_grid(weights, options)
        same = torch.equal(small.scale, large.scale) and torch.equal(small.zero, large.zero)
        found["symmetric" if symmetric else "asymmetric"] = same
    return found


def main() -> None:
    base, home = Path(sys.argv[1]), Path(sys.argv[2])
    original = {name: tensor.float() for name, tensor in load_file(base / "model.safetensors").items()}
    facts: dict[str, dict[str, Any]] = {"losses": losses(), "steps": same_in_any_steps()}
    untouched = log_probabilities(base, original)
    structure = inspect(check_checkpoint(base)).to_dict()
    for case, (method, given) in CASES.items():
        folder = home / case.replace(" ", "-")
        folder.mkdir(parents=True)
        options = asdict(make_options(method_named(method), given, "cuda"))
        output = folder / "checkpoint"
        job = QuantizationJob(
            str(base), str(folder), str(output), method, options, text(), 4, 64, 0, structure
        )
        done = quantize(job, lambda event, **values: None)
        weights, meant = unpack(output), intended(folder)
        assert set(weights) == set(original), case
        config = json.loads((output / "config.json").read_text())
        facts[case] = {
            "directory": str(output.resolve()),
            "device": done["device"],
            "method": config["quantization_config"]["quant_method"],
            # The engine stores scales in 16 bits: nothing else may differ.
            "largest_difference": max(
                [((weights[n] - meant[n]).abs() / meant[n].abs().max()).max().item() for n in meant],
                default=0.0,
            ),
            "error": {
                name: ((weights[name] - original[name]).norm() / original[name].norm()).item()
                for name in original
                if name.endswith("_proj.weight")
            },
            "stored": sorted({str(t.dtype) for t in load_file(output / "model.safetensors").values()}),
            "reference": log_probabilities(base, weights),
        }
        pairs = zip(facts[case]["reference"], untouched, strict=True)
        facts[case]["drift"] = max(abs(ours - theirs) for ours, theirs in pairs)
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
