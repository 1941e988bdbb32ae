"""Build a model without its weights and write what its matrices are. Needs torch.

    python -m quantserve.quantize.models.inspection MODEL_DIR OUTPUT.json

Started by `quantize.models.structure` only.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from quantserve.core.errors import InputError
from quantserve.core.files import write_json
from quantserve.quantize.models.checks import Checkpoint, check_checkpoint
from quantserve.quantize.models.structure import Structure
from quantserve.quantize.worker import die_with_parent

# Parts with fewer outputs are gates and routers: small, sensitive, and no kernel takes them.
_LEAST_OUTPUTS = 32
# What configurations that fit no model make transformers raise.
_BUILD_ERRORS = (
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(ImportError, OSError, RuntimeError, AssertionError),
)
_FETCH_AGAIN = "Its config.json and its weights belong to different models: fetch the model again"
_OTHER = "Use a decoder-only language model, or serve this one as it is"


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the decoder's repeated layers and their name inside the model: its largest row of modules.

    Raises:
        InputError: the model is no decoder, or has no such row.
    """
    anything: Any = model
    decoder = anything.get_decoder() if hasattr(model, "get_decoder") else None
    rows = _outermost_rows(decoder if decoder is not None else model.base_model)
    if model.config.is_encoder_decoder or not rows:
        raise InputError(f"{type(model).__name__} has no row of decoder layers", mend=_OTHER)
    largest = max(rows, key=lambda row: sum(parameter.numel() for parameter in row.parameters()))
    return next(name for name, module in model.named_modules() if module is largest), largest


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
    build: Any = AutoModelForCausalLM.from_config
    try:
        config = AutoConfig.from_pretrained(directory)
        with torch.device("meta"):
            model: PreTrainedModel = build(config)
    except _BUILD_ERRORS as error:
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
    stored, merged = _loaded_as(model, checkpoint)
    modules = dict(model.named_modules())
    linear: list[str] = []
    unquantized: dict[str, str] = {}
    blocks: set[str] = set()
    for own, tensor in stored.items():
        info = checkpoint.tensors[tensor]
        if len(info.shape) < 2 or (not own.endswith(".weight") and len(info.shape) < 3):
            continue
        name, module = tensor.removesuffix(".weight"), modules.get(own.removesuffix(".weight"))
        if not own.startswith(f"{prefix}."):
            if isinstance(module, nn.Linear):
                unquantized[name] = "outside the layers"
        elif isinstance(module, nn.Linear):
            linear.append(name)
        else:
            unquantized[name] = "fused experts" if module is None else type(module).__name__
            if len(info.shape) > 2 and module is None:
                blocks.add(own.rpartition(".")[0])
    experts = [
        name.removesuffix(".weight")
        for name in merged
        if name.endswith(".weight") and len(checkpoint.tensors[name].shape) == 2
    ]
    sizes = {
        name: (shape[0], shape[1])
        for name in (*linear, *experts)
        if (shape := checkpoint.tensors[f"{name}.weight"].shape)
    }
    for name in linear:
        if sizes[name][0] < _LEAST_OUTPUTS or sizes[name][0] == _experts_beside(name, experts):
            unquantized[name] = "router" if experts else f"fewer than {_LEAST_OUTPUTS} outputs"
    linear = [name for name in linear if name not in unquantized]
    if not linear:
        kinds = sorted({what for what in unquantized.values() if what != "outside the layers"})
        raise InputError(
            f"{type(model).__name__} ({kind}) has no linear parts in its layers"
            + (f", their matrices are {', '.join(kinds)}" if kinds else ""),
            mend="Serve it in 16 bits: quantserve serving up MODEL",
        )
    return Structure(
        architecture=type(model).__name__,
        layers=len(rows),
        linear=tuple(linear),
        experts=tuple(experts),
        unquantized=dict(sorted(unquantized.items())),
        sizes={name: sizes[name] for name in (*linear, *experts)},
        stored=stored,
        merged=merged,
        blocks=tuple(sorted(blocks)),
    )


def _loaded_as(model: PreTrainedModel, checkpoint: Checkpoint) -> tuple[dict[str, str], dict[str, str]]:
    """Return the checkpoint's name of each of the model's tensors, and what merged ones become part of.

    The loader itself is asked: it adds and drops prefixes, renames, and merges experts.

    Raises:
        InputError: the checkpoint holds nothing of the model's layers.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    own = model.state_dict()
    stored: dict[str, str] = {}
    merged: dict[str, str] = {}
    patterns: dict[str, str] = {}
    for name in checkpoint.tensors:
        renamed, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, own)
        if renamed not in own and name in own:
            renamed, pattern = name, None
        if renamed not in own:
            continue
        if pattern is not None:
            merged[name], patterns[name] = renamed, pattern
        else:
            stored[renamed] = name
    prefix, _ = decoder_layers(model)
    if not any(name.startswith(f"{prefix}.") for name in stored):
        raise InputError(
            f"{checkpoint.directory} holds none of the layers of a {type(model).__name__}",
            mend=_FETCH_AGAIN,
        )
    missing = [
        *_missing(model, {*stored, *merged.values(), *_split_off(merged, patterns, converters)}),
        *_merged_by_half(merged, patterns, converters, own),
    ]
    if missing:
        raise InputError(
            f"{checkpoint.directory} lacks {len(missing)} of the weights that a {type(model).__name__} of "
            f"its config.json has, such as {missing[0]}",
            mend=_FETCH_AGAIN,
        )
    return stored, merged


def _split_off(
    merged: Mapping[str, str], patterns: Mapping[str, str], converters: list[WeightConverter]
) -> set[str]:
    """Return the tensors that a stored one is split into, beside the first, which the loader names."""
    found: set[str] = set()
    for converter in converters:
        first, *others = converter.target_patterns
        for name, target in merged.items():
            if others and patterns[name] in converter.source_patterns:
                found |= {target.replace(first, other) for other in others}
    return found


def _merged_by_half(
    merged: Mapping[str, str],
    patterns: Mapping[str, str],
    converters: list[WeightConverter],
    own: Mapping[str, torch.Tensor],
) -> list[str]:
    """Return the tensors of which the checkpoint holds some parts alone, such as seven of eight experts."""
    found: list[str] = []
    for converter in converters:
        parts = Counter(
            target for name, target in merged.items() if patterns[name] in converter.source_patterns
        )
        kinds = len(converter.source_patterns)
        for target, count in parts.items():
            each = own[target].shape[0] if own[target].ndim > 2 and count > kinds else 1
            if len(converter.target_patterns) == 1 and count < kinds * each:
                found.append(target)
    return found


def _missing(model: PreTrainedModel, loaded: set[str]) -> list[str]:
    """Return the parameters that the loader would make up, since the checkpoint has none for them.

    Tied parameters are one, and come with any of their names.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    unneeded = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    return [
        same[0]
        for same in names.values()
        if not loaded.intersection(same)
        and not any(pattern.search(name) for name in same for pattern in unneeded)
    ]


def _experts_beside(name: str, experts: list[str]) -> int:
    """Return how many experts stand in the same block of modules as a linear part; none is 0."""
    block = name.rpartition(".")[0]
    numbers = set()
    for expert in experts:
        if expert.startswith(f"{block}."):
            numbers |= {part for part in expert[len(block) + 1 :].split(".") if part.isdigit()}
    return len(numbers)


def main() -> None:
    """Write the answer, which may be a refusal."""
    die_with_parent()
    directory, output = Path(sys.argv[1]), Path(sys.argv[2])
    answer: dict[str, Any]
    try:
        answer = inspect(check_checkpoint(directory)).to_dict()
    except InputError as error:
        answer = {"problem": error.problem, "hint": error.mend}
    write_json(output, answer)


if __name__ == "__main__":
    main()
