"""Random weights in which a wrongly folded scale shows: an outlier channel, norms and biases that matter.

Needs torch and transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.architectures.configs import tiny
from tests.architectures.shapes import Shape
from tests.tiny_llama import write_tokenizer

# Parameters of state-space mixers and convolutions have ranges of their own: the library's are left.
_OWN_RANGE = ("a_log", "dt_", "conv", "time_step", "ssm")
_EMBEDDINGS = ("embed", "wte", "wpe")
_OUTLIER, _OUTLIER_SCALE = 3, 8.0
_FAINT, _FAINT_SCALE = 7, 0.1


def build(shape: Shape) -> PreTrainedModel:
    """Return the model with its weights, in float32; one that also sees is built whole."""
    torch.manual_seed(0)
    sees = shape.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    kind: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model: PreTrainedModel = kind.from_config(tiny(shape.model_type, **shape.changes), dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        parameter.data = _drawn(name.lower(), parameter, generator)
    model.train(False)
    return model


def _drawn(name: str, parameter: nn.Parameter, generator: torch.Generator) -> torch.Tensor:
    """Return values for one parameter; of a matrix the last axis is the input's, except for GPT-2's."""
    noise: torch.Tensor = torch.randn(parameter.shape, generator=generator)
    own: torch.Tensor = parameter.data
    if any(part in name for part in _OWN_RANGE):
        return own
    if parameter.ndim >= 2 and any(part in name for part in _EMBEDDINGS):
        values: torch.Tensor = noise * 0.5
        if values.shape[-1] > _FAINT:
            values[..., _OUTLIER] *= _OUTLIER_SCALE
            values[..., _FAINT] *= _FAINT_SCALE
        return values
    if parameter.ndim >= 2:
        return noise.div(parameter.shape[-1] ** 0.5)
    if name.endswith("bias"):
        return noise * (0.3 if "norm" in name or "ln_" in name else 0.2)
    if "norm" in name or "ln_" in name:
        return own + 0.3 * noise
    return own


def write(shape: Shape, directory: Path) -> None:
    """Write a shape's checkpoint with a tokenizer of bytes; the directory appears whole."""
    part = directory.with_name(f".{directory.name}.part")
    model = build(shape).to(getattr(torch, shape.dtype))
    with torch.no_grad():
        _spoil(model, shape)
    # a tokenizer's ids are its own: 256 ends a text
    model.generation_config.pad_token_id = 0
    model.save_pretrained(part, **({"max_shard_size": shape.shard} if shape.shard else {}))
    write_tokenizer(part)
    part.rename(directory)


def _spoil(model: PreTrainedModel, shape: Shape) -> None:
    if shape.spoil == "nan":
        model.get_parameter("model.layers.1.mlp.up_proj.weight")[5, 5] = float("nan")
    elif shape.spoil == "large":  # beyond float16 where bfloat16 reaches, and the same function
        model.get_parameter("model.norm.weight")[_FAINT] *= 2.0**20
        model.get_parameter("lm_head.weight")[:, _FAINT] *= 2.0**-20
