"""Whether a directory is a LoRA adapter that may be merged: decided from names and headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantserve.core.checkpoints import model_id
from quantserve.core.errors import InputError
from quantserve.quantize.artifact import Parent
from quantserve.quantize.models.checks import PICKLE_SUFFIXES, read_json, read_safetensors_header
from quantserve.quantize.models.source import ADAPTER_CONFIG as CONFIG
from quantserve.quantize.models.source import ADAPTER_WEIGHTS as WEIGHTS
from quantserve.quantize.models.source import content_hash


class AdapterError(InputError):
    """A directory is not an adapter that can be merged."""


@dataclass(frozen=True)
class Adapter:
    """A checked adapter; `base` is the model its configuration names."""

    directory: Path
    base: str | None

    @property
    def weights(self) -> Path:
        """The file with its tensors."""
        return self.directory / WEIGHTS

    def parent(self, run_dir: Path) -> Parent:
        """Return how a manifest names it."""
        return Parent(id=model_id(self.directory), sha256=content_hash(self.directory, run_dir))


def check_adapter(directory: Path) -> Adapter:
    """Check a directory, reading no tensor.

    Raises:
        InputError: naming what rules it out, and the mend.
    """
    if not (directory / CONFIG).is_file():
        raise AdapterError(
            f"{directory} is no adapter: it holds no {CONFIG}", mend="Name the folder that peft saved"
        )
    settings = read_json(directory / CONFIG)
    kind = str(settings.get("peft_type", "")).upper()
    if kind != "LORA":
        raise AdapterError(
            f"{directory} is an adapter of the kind {kind or 'unknown'}", mend="Only LoRA can be merged"
        )
    if not (directory / WEIGHTS).is_file():
        pickles = any(path.suffix in PICKLE_SUFFIXES for path in directory.glob("adapter_model*"))
        raise AdapterError(
            f"{directory} holds {'pickle weights, which can run code' if pickles else f'no {WEIGHTS}'}",
            mend="Save it again with safe_serialization=True",
        )
    read_safetensors_header(directory / WEIGHTS)
    base = settings.get("base_model_name_or_path")
    return Adapter(directory, str(base) if base else None)
