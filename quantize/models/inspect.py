"""Build a model without its weights and write what its matrices are. Needs torch.

    python -m quantize.models.inspect MODEL_DIR OUTPUT.json

Started by `quantize.models.structure` only.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from core.errors import InputError
from core.files import write_json
from quantize.models.checks import Checkpoint, check_checkpoint
from quantize.models.structure import Structure
from quantize.worker.lifeline import die_with_parent

_OTHER = "Use a decoder-only language model, or serve this one as it is"


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the decoder's repeated layers and their name inside the model: its largest row of modules.

    Raises:
        InputError: the model is no decoder, or has no such row.
    """
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    rows = _outermost_rows(decoder if decoder is not None else model.base_model)
    if model.config.is_encoder_decoder or not rows:
        raise InputError(f"{type(model).__name__} has no row of decoder layers", mend=_OTHER)
    largest = max(rows, key=lambda row: sum(parameter.numel() for parameter in row.parameters()))
    return next((name, module) for name, module in model.named_modules() if module is largest)  # type: ignore[return-value]


def _outermost_rows(module: nn.Module) -> list[nn.ModuleList]:
    found: list[nn.ModuleList] = []
    for child in module.children():
        found += [child] if isinstance(child, nn.ModuleList) else _outermost_rows(child)
    return [row for row in found if any(True for _ in row.parameters())]


def empty_model(directory: Path, what: str) -> PreTrainedModel:
    """Build a model without weights.

    Raises:
        InputError: transformers does not know it.
    """
    try:
        config = AutoConfig.from_pretrained(directory)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, OSError) as error:
        last = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"{directory} cannot be built as a language model ({what}): {last[:200]}", mend=_OTHER
        ) from error
    return model


def inspect(checkpoint: Checkpoint) -> Structure:
    """Return what a checkpoint's matrices are.

    Raises:
        InputError: see `structure.structure_of`.
    """
    kind = str(checkpoint.config.get("model_type") or "no model_type")
    model = empty_model(checkpoint.directory, kind)
    prefix, rows = decoder_layers(model)
    stored_prefix = _stored_prefix(model, prefix, checkpoint)
    modules = dict(model.named_modules())
    linear, experts, kept = [], [], {}
    # Matrices whose names differ in a number beside the layer's are a mixture's experts; a router is alone.
    siblings = Counter(_any_number(name.removesuffix(".weight")) for name in checkpoint.tensors)
    for tensor, info in checkpoint.tensors.items():
        if not tensor.endswith(".weight") or len(info.shape) < 2:
            continue
        name = tensor.removesuffix(".weight")
        inside = name.startswith(f"{stored_prefix}.")
        own = f"{prefix}.{name[len(stored_prefix) + 1 :]}" if inside else name
        module = modules.get(own)
        if not inside:
            if module is None or isinstance(module, nn.Linear):
                kept[name] = "outside the layers"
        elif isinstance(module, nn.Linear):
            linear.append(name)
        elif module is None and len(info.shape) == 2 and siblings[_any_number(name)] > len(rows):
            experts.append(name)
        else:
            kept[name] = type(module).__name__ if module is not None else "merged at load"
    kept |= {
        name: "fused experts"
        for name, info in checkpoint.tensors.items()
        if name.startswith(f"{stored_prefix}.") and not name.endswith(".weight") and len(info.shape) == 3
    }
    if not linear:
        kinds = sorted({what for name, what in kept.items() if what != "outside the layers"})
        raise InputError(
            f"{type(model).__name__} ({kind}) has no linear parts in its layers"
            + (f", their matrices are {', '.join(kinds)}" if kinds else ""),
            mend="Serve it in 16 bits: python -m serving up MODEL",
        )
    sizes = {name: checkpoint.tensors[f"{name}.weight"].shape for name in (*linear, *experts)}
    return Structure(
        architecture=type(model).__name__,
        layers=len(rows),
        prefix=prefix,
        stored_prefix=stored_prefix,
        linear=tuple(linear),
        experts=tuple(experts),
        kept=dict(sorted(kept.items())),
        sizes={name: (shape[0], shape[1]) for name, shape in sizes.items()},
    )


def _any_number(name: str) -> str:
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def _stored_prefix(model: PreTrainedModel, prefix: str, checkpoint: Checkpoint) -> str:
    """Return what the layers' tensors begin with in the checkpoint; loaders add and drop parts of names.

    It is the prefix under which the checkpoint holds most of the layers' tensors in the model's shapes.

    Raises:
        InputError: it holds none of them.
    """
    wanted = {
        name[len(prefix) :]: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name.startswith(f"{prefix}.")
    }
    counts: dict[str, int] = {}
    for name, info in checkpoint.tensors.items():
        for start in (at for at, letter in enumerate(f".{name}") if letter == "."):
            if wanted.get(f".{name}"[start:]) == info.shape:
                stem = name[: max(start - 1, 0)]
                counts[stem] = counts.get(stem, 0) + 1
    if not counts:
        raise InputError(
            f"{checkpoint.directory} holds none of the layers of a {type(model).__name__}",
            mend="Its config.json and its weights belong to different models: fetch the model again",
        )
    return max(counts, key=lambda stem: (counts[stem], stem == prefix))


def main() -> None:
    """Write the answer, which may be a refusal."""
    die_with_parent()
    directory, output = Path(sys.argv[1]), Path(sys.argv[2])
    answer: dict[str, Any]
    try:
        answer = inspect(check_checkpoint(directory)).to_dict()
    except InputError as error:
        answer = {"problem": error.problem, "mend": error.mend}
    write_json(output, answer)


if __name__ == "__main__":
    main()
