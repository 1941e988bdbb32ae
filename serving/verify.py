"""Is an artifact what its manifest says? Hashed is only what is not as it was when its hash was last right.

The stamps file remembers, for each directory, size and times of the files whose hashes were right. The time
of the last change of status (ctime) is among them: no program can set it back.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from quantserve.core.console import console
from quantserve.core.files import sha256_file, write_json
from quantserve.core.sizes import decimal_size
from quantserve.quantize.artifact import MANIFEST, ArtifactError, Manifest, check_files

# What an engine reads; a README or the gate's pages beside it do no harm.
_READ_BY_ENGINES = {".safetensors", ".bin", ".pt", ".model", ".tiktoken", ".jinja", ".py"}
_THREADS = 4


def verify(directory: Path, manifest: Manifest, stamps: Path | None, *, full: bool) -> list[str]:
    """Check every file and return the names of those that were hashed.

    `full` hashes all; without a `stamps` file there is nothing to remember by, so all are, too.

    Raises:
        ArtifactError: a file is missing, changed, or read by engines and not in the manifest.
    """
    check_files(directory, manifest, full=False)
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.suffix in _READ_BY_ENGINES and name not in manifest.files:
            raise ArtifactError(
                f"{path} is not in the manifest, and engines read such files", mend="Move it elsewhere"
            )
    manifest_sha256 = sha256_file(directory / MANIFEST)
    remembered = {} if stamps is None else _read(stamps)
    entry = remembered.get(str(directory))
    known = entry["files"] if isinstance(entry, dict) and entry.get("manifest") == manifest_sha256 else {}
    now = {name: _stamp(directory / name) for name in manifest.files}
    wanted = [name for name in manifest.files if full or known.get(name) != now[name]]
    _hash(directory, manifest, wanted)
    if stamps is not None and wanted:
        kept = {place: entry for place, entry in remembered.items() if Path(place).is_dir()}
        write_json(stamps, {**kept, str(directory): {"manifest": manifest_sha256, "files": now}})
    return wanted


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(stamps: Path) -> dict[str, Any]:
    """Return what was remembered; a damaged file remembers nothing."""
    try:
        data = json.loads(stamps.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return data if isinstance(data, dict) else {}


def _hash(directory: Path, manifest: Manifest, names: list[str]) -> None:
    size = sum(manifest.files[name].size_bytes for name in names)
    workers = min(_THREADS, os.cpu_count() or 1)
    with (
        console.status(f"checking the hashes of {decimal_size(size)} of {manifest.name} …"),
        ThreadPoolExecutor(workers) as pool,
    ):
        found = pool.map(lambda name: sha256_file(directory / name), names)
        for name, sha256 in zip(names, found, strict=True):
            if sha256 != manifest.files[name].sha256:
                raise ArtifactError(
                    f"{directory / name} was changed after it was made", mend="Restore it, or quantize again"
                )
