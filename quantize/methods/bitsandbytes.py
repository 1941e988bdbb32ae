"""bitsandbytes: 16-bit files with settings by which loaders quantize while loading. Pure.

LLM.int8 (Dettmers et al. 2022) for 8 bits; NF4 with quantized scales (QLoRA, Dettmers et al. 2023) for 4.
"""

from __future__ import annotations

from typing import Any

from quantize.config import BitsAndBytesOptions


def settings(options: BitsAndBytesOptions) -> dict[str, Any]:
    """Return `quantization_config` as transformers' BitsAndBytesConfig reads it."""
    return {
        "quant_method": "bitsandbytes",
        "load_in_8bit": options.bits == 8,
        "load_in_4bit": options.bits == 4,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": options.double_quant,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": ["lm_head"],
        "llm_int8_threshold": 6.0,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
    }
