"""A LoRA adapter merged into its base, in 16 bits, by peft. Imported by the worker: needs torch."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.errors import InputError
from core.files import remove_tree
from quantize.methods.checkpoint import copy_companions


def merge(base: Path, adapter: Path, output: Path) -> None:
    """Write the base with the adapter's update added to its weights; `output` appears whole.

    Raises:
        InputError: the adapter was made for another model.
    """
    part = output.with_name(f"{output.name}.part")
    remove_tree(part)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"The adapter {adapter} does not fit {base.name}: {str(error).splitlines()[0][:200]}",
            mend="Name the model that it was trained on",
        ) from error
    merged.save_pretrained(part)
    copy_companions(base, part)
    part.rename(output)
