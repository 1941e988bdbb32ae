"""Round one layer after the other to 4 bits and measure how far the predictions move. Needs torch.

    python -m quantserve.quantize.ladder.measure_losses JOB.json

Started by `quantize.ladder.sensitivity` only. One forward pass a layer over a few hundred tokens: half a
minute for a 135M model on two cores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from quantserve.core.files import write_json
from quantserve.quantize.calibration.packing import pack
from quantserve.quantize.methods.layers.rounding import GridOptions, round_to_nearest
from quantserve.quantize.models.inspection import decoder_layers
from quantserve.quantize.models.tokenizer import load_tokenizer
from quantserve.quantize.worker import die_with_parent

_GROUPS = (128, 64, 32)
# float32 is the one type every processor computes well; larger models stay as they are for their memory.
_FLOAT32_ELEMENTS = 2_000_000_000
_GRID = GridOptions(bits=4, symmetric=False, search=False)


def measure(job: dict[str, Any]) -> list[float]:
    """Return each layer's mean KL(base || layer rounded) in nats per token."""
    packed = pack(
        load_tokenizer(Path(job["model"])),
        job["groups"],
        sequences=job["sequences"],
        sequence_tokens=job["sequence_tokens"],
        seed=job["seed"],
    )
    model: Any = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    if sum(parameter.numel() for parameter in model.parameters()) < _FLOAT32_ELEMENTS:
        model = model.float()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    ids = torch.tensor(packed.sequences, device=device)
    _, layers = decoder_layers(model)
    losses = []
    with torch.inference_mode():
        base = predictions(model, ids)
        for layer in layers:
            before = round_layer(layer)
            losses.append(divergence(base, predictions(model, ids)))
            for module, weight in before:
                module.weight.data = weight
    return losses


def predictions(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities, (sequences, tokens, vocabulary), in float32."""
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits.float().log_softmax(-1)


def divergence(base: torch.Tensor, other: torch.Tensor) -> float:
    """Return the mean KL(base || other) over positions."""
    return float((base.exp() * (base - other)).sum(-1).mean())


def round_layer(layer: nn.Module) -> list[tuple[nn.Linear, torch.Tensor]]:
    """Round a layer's linear parts in place, in the largest groups that fit; return what they held."""
    before = []
    for module in (one for one in layer.modules() if isinstance(one, nn.Linear)):
        weight = module.weight.data
        size = next((group for group in _GROUPS if weight.shape[1] % group == 0), -1)
        before.append((module, weight))
        module.weight.data = round_to_nearest(weight.float(), size, _GRID).dequantize().to(weight.dtype)
    return before


def main() -> None:
    """Do the job and write the result."""
    die_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_json(Path(job["output"]), {"losses": measure(job)})


if __name__ == "__main__":
    main()
