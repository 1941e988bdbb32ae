"""From the directory a user names to something that may be served, checked without loading it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize.artifact import is_artifact, read_manifest
from serving.errors import TargetError
from serving.inspection import Views, not_served
from serving.model import ModelFacts, read_model_facts
from serving.verify import verify

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


@dataclass(frozen=True)
class Target:
    """A directory that may be served. `version` is None for a plain checkpoint."""

    directory: Path
    name: str
    version: str | None
    method: str | None
    bits: float | None
    facts: ModelFacts


def resolve_target(
    given: Path, *, stamps: Path | None = None, full_check: bool = False, views: Views | None = None
) -> Target:
    """Resolve symlinks once, check the files and read what the plan needs.

    `stamps` remembers what was found right, so that it need not be hashed again (serving.verify). `views`
    asks the engine; without it only what our own reading refuses is refused.

    Raises:
        TargetError, ArtifactError: the directory is missing, unsafe, damaged or no checkpoint.
    """
    directory = given.resolve()
    if not directory.is_dir():
        raise TargetError(f"{given} is not a directory", mend="Make one: python -m quantize model, or run")
    if is_artifact(directory):
        manifest = read_manifest(directory)
        verify(directory, manifest, stamps, full=full_check)
        name, version = manifest.name, manifest.version
        method, bits = manifest.method, manifest.bits
    else:
        name, version, method, bits = directory.name, None, None, None
    _refuse_code(directory)
    view = views.of(directory) if views is not None and (directory / "config.json").is_file() else None
    _refuse_unsafe(directory)
    for file in sorted(directory.glob("*.safetensors")):
        check_safetensors(file)
    return Target(directory, name, version, method, bits, read_model_facts(directory, view))


def _refuse_code(directory: Path) -> None:
    """Refuse checkpoints that bring their own code, and pipelines, which are no single model."""
    if (directory / "model_index.json").is_file():
        raise not_served(directory, "it is a pipeline of diffusion models")
    for name in ("config.json", "tokenizer_config.json"):
        path = directory / name
        try:
            automatic = path.is_file() and "auto_map" in json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TargetError(f"{path} is not JSON: {error}", mend="Fetch the checkpoint again") from error
        if automatic:
            raise TargetError(
                f"{path} has an auto_map: the checkpoint wants to run code of its own",
                mend="Use a model whose architecture vLLM knows",
            )


def _refuse_unsafe(directory: Path) -> None:
    """Refuse weights that run code when loaded, and directories that lack what a model needs."""
    if not any(directory.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in directory.glob(pattern)]
        if pickles:
            raise TargetError(
                f"{directory} holds pickled weights ({pickles[0]}), which run code when loaded",
                mend="Convert them to safetensors",
            )
        raise TargetError(
            f"{directory} is no checkpoint: it has no *.safetensors",
            mend="Give a directory with config.json, *.safetensors and a tokenizer",
        )
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise TargetError(f"{directory} has no tokenizer", mend="Copy tokenizer.json beside the weights")


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's header and the length the file should have.

    Format: 8 bytes little-endian header length, JSON header, tensor data.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER_BYTES
        if length >= _MAX_HEADER_BYTES or 8 + length > size:
            raise TargetError(f"{path} is not a whole safetensors file", mend="Fetch it again")
        try:
            header = json.loads(stream.read(length))
            tensors = {key: entry for key, entry in header.items() if key != "__metadata__"}
            ends = [entry["data_offsets"][1] for entry in tensors.values()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TargetError(f"{path} has a damaged header", mend="Fetch it again") from error
    return tensors, 8 + length + max(ends, default=0)


def check_safetensors(path: Path) -> None:
    """Compare a file's length with what its header says, so a cut file is found at once.

    Raises:
        TargetError: it is truncated or damaged.
    """
    size, expected = path.stat().st_size, _read_header(path)[1]
    if size != expected:
        raise TargetError(
            f"{path} is truncated or damaged: {size} bytes, its header says {expected}",
            mend="Fetch it again",
        )


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Return each tensor's shape, without reading the tensors.

    Raises:
        TargetError: the header is damaged.
    """
    return {name: list(entry["shape"]) for name, entry in _read_header(path)[0].items()}
