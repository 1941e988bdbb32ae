"""Content hashes of checkpoint files, remembered so that a large model is hashed once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from core.files import sha256_file, write_json

SOURCE = "source.json"
_CONTENT_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
_CACHE = "file-hashes.json"


def content_files(directory: Path) -> list[Path]:
    """Return the files that make a checkpoint what it is; documents and `source.json` do not count."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file()
        and path.suffix in _CONTENT_SUFFIXES
        and path.name != SOURCE
        and not path.name.startswith(".")
    )


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
        digest.update(f"{path.name}\0{cache[stamp]}\n".encode())
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
    files = {path.name: path.stat().st_size for path in content_files(directory)}
    write_json(directory / SOURCE, {**facts, "files": files})


def read_source(directory: Path) -> dict[str, Any]:
    """Return `source.json`, or an empty dict when there is none or it is unreadable."""
    try:
        value = json.loads((directory / SOURCE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def is_whole(directory: Path) -> bool:
    """Whether every file `source.json` lists is there with its size."""
    files = read_source(directory).get("files")
    if not isinstance(files, dict) or not files:
        return False
    return all(
        (directory / name).is_file() and (directory / name).stat().st_size == size
        for name, size in files.items()
    )
