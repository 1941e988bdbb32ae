"""Load checkpoints by AutoModelForCausalLM and print, as JSON, what each says and does.

    python load_with_transformers.py BASE ARTIFACT…

Runs in the quantize environment. Each artifact's weights are also dequantized here, straight from the
published formats (AutoGPTQ, AutoAWQ), and the logits compared with those of the loaded model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "The quick brown fox jumps over the lazy dog."


def nibbles(packed: torch.Tensor) -> torch.Tensor:
    """Return the eight 4-bit values of each int32 as a new last axis, lowest bits first."""
    return torch.stack([(packed >> shift) & 15 for shift in range(0, 32, 4)], dim=-1)


def dequantize(directory: Path) -> dict[str, torch.Tensor]:
    settings = json.loads((directory / "config.json").read_text())["quantization_config"]
    tensors = load_file(directory / "model.safetensors")
    weights = {
        k: v.float()
        for k, v in tensors.items()
        if not k.endswith((".qweight", ".qzeros", ".scales", ".g_idx"))
    }
    for name in [name for name in tensors if name.endswith(".qweight")]:
        stem = name.removesuffix(".qweight")
        packed, zeros, scales = tensors[name], tensors[f"{stem}.qzeros"], tensors[f"{stem}.scales"].float()
        if settings["quant_method"] == "awq":
            order = [0, 4, 1, 5, 2, 6, 3, 7]  # where output 0…7 of eight lies in the int32
            values = nibbles(packed)[..., order].flatten(1)
            points = nibbles(zeros)[..., order].flatten(1)
        else:
            values = nibbles(packed).permute(0, 2, 1).reshape(-1, packed.shape[1])
            points = nibbles(zeros).flatten(1) + 1
        group = torch.arange(values.shape[0]) // settings["group_size"]
        weights[f"{stem}.weight"] = ((values - points[group]) * scales[group]).T.contiguous()
    return weights


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt")).logits.float()
    return result


def main() -> None:
    base_dir, *artifacts = sys.argv[1:]
    facts = {}
    for directory in artifacts:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        reference = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
        original = logits(reference, tokenizer)
        reference.load_state_dict(dequantize(Path(directory)), strict=False)
        expected = logits(reference, tokenizer)
        loaded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float16)
        actual = logits(loaded, tokenizer)
        facts[directory] = {
            "quantized_layers": sum(hasattr(m, "qweight") for m in loaded.modules()),
            "error_loading": ((actual - expected).norm() / expected.norm()).item(),
            "error_quantizing": ((expected - original).norm() / original.norm()).item(),
            "dtypes": sorted(
                {str(t.dtype) for t in load_file(Path(directory) / "model.safetensors").values()}
            ),
        }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
