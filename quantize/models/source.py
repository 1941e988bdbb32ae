"""What a checkpoint or adapter is made of: its files, their content hash, and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.checkpoints import find_weights, model_id
from quantserve.core.errors import InputError
from quantserve.core.files import sha256_file, write_json
from quantserve.core.json_input import read_json_object
from quantserve.quantize.artifact import Parent
from quantserve.quantize.models.checks import (
    PICKLE_SUFFIXES,
    SIDE_FILES,
    CheckpointError,
    read_json,
    read_safetensors_header,
)
from quantserve.quantize.models.companions import companions

SOURCE = "source.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_HASHES = "file-hashes.json"


def content_files(directory: Path) -> list[Path]:
    """Return the files that make a checkpoint what it is: its weights, its config, and what goes with them.

    These are the files that an artifact is made from, so the model's card, `source.json` and weights that
    are not the model's do not count. An adapter's directory has its own config and weights.

    Raises:
        InputError: a file that belongs to it is missing, or which are the weights is not clear.
    """
    if (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file():
        own = [directory / ADAPTER_CONFIG, directory / ADAPTER_WEIGHTS]
    else:
        config = read_json(directory / "config.json")
        weights = find_weights(directory, config, error=CheckpointError)
        side = [directory / name for name in ("config.json", *SIDE_FILES)]
        own = [*weights.files, *([weights.index] if weights.index else []), *side]
    found = {path for path in own if path.is_file()}
    return sorted(found | {directory / name for name in companions(directory)})


def content_hash(directory: Path, run_dir: Path) -> str:
    """Return one SHA-256 over the names and hashes of a checkpoint's files."""
    digest = hashlib.sha256()
    for path, sha256 in remembered(run_dir / _HASHES, content_files(directory), sha256_file):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{sha256}\n".encode())
    return digest.hexdigest()


def remembered(
    cache_path: Path, files: Iterable[Path], read: Callable[[Path], Any]
) -> list[tuple[Path, Any]]:
    """Return each file with what `read` says of it, kept for as long as its size and time stay.

    So a large model is read once. A damaged cache is as good as none, since everything can be read again.
    """
    try:
        cache: Any = json.loads(cache_path.read_bytes())
    except (FileNotFoundError, ValueError):
        cache = {}
    cache = cache if isinstance(cache, dict) else {}
    found, learned = [], False
    for path in files:
        status = path.stat()
        stamp = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if stamp not in cache:
            cache[stamp] = read(path)
            learned = True
        found.append((path, cache[stamp]))
    if learned:
        write_json(cache_path, cache)
    return found


def write_source(directory: Path, **facts: Any) -> None:
    """Write `source.json`, which says where a checkpoint came from and that it is whole; write it last."""
    files = {path.relative_to(directory).as_posix(): path.stat().st_size for path in content_files(directory)}
    write_json(directory / SOURCE, {**facts, "files": files})


def read_source(directory: Path) -> dict[str, Any]:
    """Return `source.json`, or an empty dict when there is none or it is unreadable."""
    try:
        return read_json_object(directory / SOURCE)
    except InputError:
        return {}


def is_whole(directory: Path) -> bool:
    """Whether every file `source.json` lists is there with its size."""
    files = read_source(directory).get("files")
    if not isinstance(files, dict) or not files:
        return False
    return all(
        (directory / name).is_file() and (directory / name).stat().st_size == size
        for name, size in files.items()
    )


class AdapterError(InputError):
    """A directory is not an adapter that can be merged."""


@dataclass(frozen=True)
class LoraAdapter:
    """A checked adapter; `base` is the model its configuration names."""

    directory: Path
    base: str | None

    @property
    def weights(self) -> Path:
        """The file with its tensors."""
        return self.directory / ADAPTER_WEIGHTS

    def parent(self, run_dir: Path) -> Parent:
        """Return how a manifest names it."""
        return Parent(id=model_id(self.directory), sha256=content_hash(self.directory, run_dir))


def check_adapter(directory: Path) -> LoraAdapter:
    """Check a directory, reading no tensor.

    Raises:
        InputError: naming what rules it out, and the hint.
    """
    if not (directory / ADAPTER_CONFIG).is_file():
        raise AdapterError(
            f"{directory} is no adapter: it holds no {ADAPTER_CONFIG}", mend="Name the folder that peft saved"
        )
    settings = read_json(directory / ADAPTER_CONFIG)
    kind = str(settings.get("peft_type", "")).upper()
    if kind != "LORA":
        raise AdapterError(
            f"{directory} is an adapter of the kind {kind or 'unknown'}", mend="Only LoRA can be merged"
        )
    if not (directory / ADAPTER_WEIGHTS).is_file():
        pickles = any(path.suffix in PICKLE_SUFFIXES for path in directory.glob("adapter_model*"))
        what = "pickle weights, which can run code" if pickles else f"no {ADAPTER_WEIGHTS}"
        raise AdapterError(f"{directory} holds {what}", mend="Save it again with safe_serialization=True")
    read_safetensors_header(directory / ADAPTER_WEIGHTS)
    base = settings.get("base_model_name_or_path")
    return LoraAdapter(directory, str(base) if base else None)
