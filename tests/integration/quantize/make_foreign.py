"""Write checkpoints as other tools write them, and a LoRA adapter, for a tiny base model.

    python make_foreign.py BASE OUT

Runs in the quantize environment. OUT/autogptq has columns reordered on disk (desc_act), OUT/static has
not; OUT/autoawq is AutoAWQ's; in OUT/old-autogptq and OUT/old-autoawq config.json does not say so, as these
wrote it at first; OUT/compressed is compressed-tensors'; OUT/adapter is a LoRA adapter.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from quantserve.quantize.methods.formats import packing
from quantserve.quantize.methods.formats.packing import Quantized
from quantserve.quantize.methods.layers.rounding import GridOptions, round_to_nearest

SIZE = 32


def autogptq(weights: torch.Tensor, *, desc_act: bool) -> dict[str, torch.Tensor]:
    """Round groups of columns that lie together in the order of their size, when `desc_act`, else on disk."""
    order = torch.argsort(weights.square().sum(0), descending=True)
    order = order if desc_act else torch.arange(weights.shape[1])
    found = round_to_nearest(weights[:, order], SIZE, GridOptions(4, symmetric=True, search=False))
    back = torch.argsort(order)
    tensors = packing.gptq(Quantized(found.codes[:, back], found.scales, found.zeros, 4))
    tensors["g_idx"] = (back // SIZE).to(torch.int32)
    return tensors


def autoawq(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    return packing.awq(round_to_nearest(weights, SIZE, GridOptions(4, symmetric=False)))


def int8(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    options = GridOptions(8, symmetric=True, search=False, signed_scales=False, scale_dtype=torch.float32)
    return packing.int8(round_to_nearest(weights, -1, options))


def write(base: Path, out: Path, pack: Any, settings: dict[str, Any]) -> None:
    shutil.copytree(base, out)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            stem = name.removesuffix(".weight")
            tensors |= {f"{stem}.{suffix}": part for suffix, part in pack(tensor.float()).items()}
        else:
            tensors[name] = tensor
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))


def aside(out: Path, name: str, settings: dict[str, Any], weights: str) -> None:
    """Move the settings out of config.json into a file of their own, and give the weights another name."""
    config = json.loads((out / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config))
    (out / name).write_text(json.dumps(settings))
    (out / "model.safetensors").rename(out / weights)


def main() -> None:
    base, out = Path(sys.argv[1]), Path(sys.argv[2])
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": SIZE, "sym": True}
    write(base, out / "autogptq", lambda w: autogptq(w, desc_act=True), {**gptq, "desc_act": True})
    write(base, out / "static", lambda w: autogptq(w, desc_act=False), {**gptq, "desc_act": False})
    awq = {"quant_method": "awq", "bits": 4, "group_size": SIZE, "zero_point": True, "version": "gemm"}
    write(base, out / "autoawq", autoawq, awq)
    write(base, out / "old-autogptq", lambda w: autogptq(w, desc_act=False), gptq)
    old: dict[str, Any] = {
        "bits": 4,
        "group_size": SIZE,
        "damp_percent": 0.01,
        "desc_act": False,
        "sym": True,
    }
    aside(out / "old-autogptq", "quantize_config.json", old, "gptq_model-4bit-32g.safetensors")
    write(base, out / "old-autoawq", autoawq, awq)
    old = {"zero_point": True, "q_group_size": SIZE, "w_bit": 4, "version": "GEMM"}
    aside(out / "old-autoawq", "quant_config.json", old, "model.safetensors")
    group = {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
        "input_activations": {
            "num_bits": 8,
            "type": "int",
            "symmetric": True,
            "strategy": "token",
            "dynamic": True,
        },
    }
    compressed = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }
    write(base, out / "compressed", int8, compressed)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(out / "adapter")


if __name__ == "__main__":
    main()
