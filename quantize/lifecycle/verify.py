"""Everything that is wrong with an artifact's files, not the first thing only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantserve.core.files import sha256_file
from quantserve.quantize.artifact import FileRecord, Manifest
from quantserve.quantize.models.checks import PICKLE_SUFFIXES, CheckpointError, check_checkpoint

_LFS_PREFIX = b"version https://git-lfs"
_CODE_SUFFIXES = (*PICKLE_SUFFIXES, ".py", ".so")


@dataclass(frozen=True)
class Problem:
    """A file that is not as it was made: `kind` is missing, pointer, truncated, changed, code or unusable."""

    file: str
    kind: str
    text: str


def problems(directory: Path, manifest: Manifest, *, full: bool) -> list[Problem]:
    """Return every problem; `full` reads and hashes every file, without it sizes alone are compared."""
    found = []
    for name, record in manifest.files.items():
        problem = _problem(directory / name, name, record, full=full)
        if problem:
            found.append(problem)
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and path.suffix in _CODE_SUFFIXES and name not in manifest.files:
            found.append(Problem(name, "code", "came later and could run code when loaded"))
    if not found:
        try:
            check_checkpoint(directory)
        except CheckpointError as error:
            found.append(Problem("", "unusable", error.problem))
    return found


def _problem(path: Path, name: str, record: FileRecord, *, full: bool) -> Problem | None:
    if not path.is_file():
        return Problem(name, "missing", "is missing")
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(len(_LFS_PREFIX))
    if head == _LFS_PREFIX:
        return Problem(name, "pointer", f"is a Git LFS pointer; run git -C {path.parent} lfs pull")
    if size_bytes < record.size_bytes:
        said = f"has {size_bytes} bytes, its manifest says {record.size_bytes}"
        return Problem(name, "truncated", said)
    if size_bytes != record.size_bytes:
        return Problem(name, "changed", f"has {size_bytes} bytes, its manifest says {record.size_bytes}")
    if full and sha256_file(path) != record.sha256:
        return Problem(name, "changed", "was changed after it was made")
    return None
