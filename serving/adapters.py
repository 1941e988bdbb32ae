"""LoRA adapters that clients may ask for by name: which directories, checked before anything is started.

A name is all a client can say; the directory behind it stands in the server's own configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.json_input import read_json_object
from quantserve.serving.errors import TargetError
from quantserve.serving.model import ModelFacts
from quantserve.serving.target import check_safetensors, safetensors_shapes

WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Their input is as wide as the model (PEFT: lora_A is [rank, input]).
_READS_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_MOST_RANK = 512


@dataclass(frozen=True)
class Adapter:
    """One adapter. Size and time of its weights tell whether they are still those that were checked."""

    name: str
    directory: Path
    rank: int
    bytes: int
    mtime_ns: int


def parse_adapters(words: tuple[str, ...]) -> dict[str, Path]:
    """Read NAME=DIRECTORY words.

    Raises:
        UsageError: one is not of that form, or a name stands twice.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, directory = word.partition("=")
        if not equals or not directory or name in found:
            raise UsageError(f"--lora {word!r} is wrong", mend="Write each adapter once, as NAME=DIRECTORY")
        found[name] = Path(directory)
    return found


def read_adapters(wanted: Mapping[str, Path], model: str, facts: ModelFacts) -> tuple[Adapter, ...]:
    """Check each directory.

    Raises:
        TargetError: one is missing, unsafe, damaged, no LoRA adapter, or made for another model.
        UsageError: a name is no plain word, or the model's own.
    """
    return tuple(_read(name, path, model, facts) for name, path in wanted.items())


def _read(name: str, path: Path, model: str, facts: ModelFacts) -> Adapter:
    if not _NAME.fullmatch(name) or name == model:
        raise UsageError(
            f"an adapter cannot be named {name!r}",
            mend="Use letters, digits and . _ -",
        )
    directory = path.resolve()
    config_file, weights = directory / _CONFIG, directory / WEIGHTS
    try:
        config = read_json_object(config_file, error=TargetError)
    except TargetError as error:
        raise TargetError(
            f"adapter {name!r}: {error.problem}", mend="Give a directory that PEFT wrote"
        ) from error
    if config.get("peft_type") != "LORA":
        raise TargetError(f"adapter {name!r}: {directory} holds no LoRA adapter", mend="Train one with PEFT")
    if "auto_map" in config or not weights.is_file():
        raise TargetError(
            f"adapter {name!r}: {directory} has no {WEIGHTS}, or wants to run code of its own",
            mend="Save it with PEFT's safe_serialization",
        )
    check_safetensors(weights)
    rank = config.get("r")
    if type(rank) is not int or not 1 <= rank <= _MOST_RANK:
        raise TargetError(f"adapter {name!r}: rank {rank!r} is not from 1 to {_MOST_RANK}", mend="Retrain it")
    _require_width(name, weights, facts)
    status = weights.stat()
    return Adapter(name, directory, rank, status.st_size, status.st_mtime_ns)


def _require_width(name: str, weights: Path, facts: ModelFacts) -> None:
    for tensor, shape in safetensors_shapes(weights).items():
        reads_hidden = any(f".{part}." in tensor for part in _READS_HIDDEN)
        if reads_hidden and ".lora_A." in tensor and shape[-1] != facts.hidden_size:
            raise TargetError(
                f"adapter {name!r} is for a model {shape[-1]} wide, this one is {facts.hidden_size}",
                mend="Give the adapter of this model",
            )
