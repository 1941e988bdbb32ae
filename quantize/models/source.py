"""Content hashes of checkpoint files, remembered so that a large model is hashed once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from quantserve.core.checkpoints import find_weights
from quantserve.core.errors import InputError
from quantserve.core.files import sha256_file, write_json
from quantserve.core.json_input import read_json_object
from quantserve.quantize.models.checks import CheckpointError, read_json
from quantserve.quantize.models.companions import companions
from quantserve.quantize.models.settings import SIDE_FILES

SOURCE = "source.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_CACHE = "file-hashes.json"


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
    """Return one SHA-256 over the names and hashes of a checkpoint's files.

    Hashes are cached in `run_dir` under path, size and modification time.
    """
    cache_path = run_dir / _CACHE
    cache = _read_cache(cache_path)
    digest = hashlib.sha256()
    learned = False
    for path in content_files(directory):
        status = path.stat()
        stamp = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if stamp not in cache:
            cache[stamp] = sha256_file(path)
            learned = True
        digest.update(f"{path.relative_to(directory).as_posix()}\0{cache[stamp]}\n".encode())
    if learned:
        write_json(cache_path, cache)
    return digest.hexdigest()


def _read_cache(path: Path) -> dict[str, str]:
    """Return the cache; a damaged one is as good as none, since it can be computed again."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


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
