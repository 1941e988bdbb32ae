"""bitsandbytes, read on CUDA: 4 bits while loading, 8 bits in its own layout. Pure.

NF4 with quantized scales (QLoRA, Dettmers et al. 2023): the files stay in 16 bits and the loader is told to
quantize. The settings lie in a file of their own, since in config.json they would say "quantized already".
LLM.int8 (Dettmers et al. 2022): the engine loads 8 bits from quantized files alone, so these are written.
"""

from __future__ import annotations

from typing import Any

from quantserve.quantize.config import BitsAndBytesOptions

# What transformers takes: BitsAndBytesConfig(**json.load(open(SETTINGS))).
SETTINGS = "bitsandbytes.json"


def settings(options: BitsAndBytesOptions) -> dict[str, Any]:
    """Return the arguments of transformers' BitsAndBytesConfig."""
    if options.bits == 8:
        return {"load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 6.0}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": options.double_quant,
        "bnb_4bit_compute_dtype": "bfloat16",
    }
