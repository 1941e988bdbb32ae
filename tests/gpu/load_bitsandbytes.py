"""Load bitsandbytes artifacts by transformers, as docs/quantization-methods.md says, and print what came.

    python load_bitsandbytes.py BASE ARTIFACT…

Runs in the serving environment, which holds bitsandbytes. The last line is JSON by artifact.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

PROMPT = "The capital of France is"


def last_logits(model: Any, tokenizer: Any) -> torch.Tensor:
    words = tokenizer(PROMPT, return_tensors="pt").to(model.device)
    with torch.no_grad():
        logits: torch.Tensor = model(**words).logits[0, -1].float().cpu()
    return logits


def load(directory: Path) -> Any:
    settings = directory / "bitsandbytes.json"
    if not settings.is_file():  # quantized in its files: config.json says how
        return AutoModelForCausalLM.from_pretrained(directory, device_map="cuda")
    configure: Any = BitsAndBytesConfig
    config = configure(**json.loads(settings.read_text(encoding="utf-8")))
    return AutoModelForCausalLM.from_pretrained(
        directory, quantization_config=config, device_map="cuda", dtype=torch.bfloat16
    )


def main() -> None:
    """Load each and compare it with the base."""
    base, *artifacts = map(Path, sys.argv[1:])
    tokenizer = AutoTokenizer.from_pretrained(base)
    original: Any = AutoModelForCausalLM.from_pretrained(base, device_map="cuda", dtype=torch.bfloat16)
    expected = last_logits(original, tokenizer).softmax(-1)
    told = {}
    for directory in artifacts:
        model = load(directory)
        found = last_logits(model, tokenizer).softmax(-1)
        words = tokenizer(PROMPT, return_tensors="pt").to(model.device)
        answer = model.generate(**words, max_new_tokens=8, do_sample=False)
        told[str(directory)] = {
            "modules": sorted(
                {type(module).__name__ for module in model.modules() if "bit" in type(module).__name__}
            ),
            "footprint": model.get_memory_footprint() / original.get_memory_footprint(),
            # Half the sum of differences: the share of probability that went elsewhere.
            "moved": 0.5 * (found - expected).abs().sum().item(),
            "text": tokenizer.decode(answer[0]),
        }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
