"""A LoRA adapter merged into its base, in 16 bits, by peft. Imported by the worker: needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from quantserve.core.errors import InputError
from quantserve.core.files import remove_tree
from quantserve.quantize.methods.checkpoint import copy_companions
from quantserve.quantize.models.source import ADAPTER_WEIGHTS


def merge(base: Path, adapter: Path, output: Path) -> None:
    """Write the base with the adapter's update added to its weights; `output` appears whole.

    Raises:
        InputError: the adapter was made for another model.
    """
    part = output.with_name(f"{output.name}.part")
    remove_tree(part)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    try:
        fitted = PeftModel.from_pretrained(model, str(adapter))
        _require_whole(fitted, adapter, base)
        merged = fitted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"The adapter {adapter} does not fit {base.name}: {str(error).splitlines()[0][:200]}",
            mend="Name the model that it was trained on",
        ) from error
    merged.save_pretrained(part)
    copy_companions(base, part)
    part.rename(output)


def _require_whole(fitted: Any, adapter: Path, base: Path) -> None:
    """Refuse an adapter of which the model takes a part, or nothing: peft warns, and merges what it took.

    Raises:
        InputError: tensors of the adapter have no place in the model, or places have no tensor.
    """
    wanted, allowed = (
        set(get_peft_model_state_dict(fitted, save_embedding_layers=more)) for more in (False, True)
    )
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as file:
        there = set(file.keys())
    unknown, missing = sorted(there - allowed), sorted(wanted - there)
    if unknown or missing:
        raise InputError(
            f"The adapter {adapter} does not fit {base.name}: "
            + (f"the model has no place for {unknown[0]}" if unknown else f"it lacks {missing[0]}"),
            mend="Name the model that it was trained on, and the folder as peft saved it",
        )
