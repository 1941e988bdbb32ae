"""Files that survive a crash: write aside, fsync, rename; locks that a dead process releases."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import ResourceError
from core.sizes import decimal_size

_CHUNK_BYTES = 1 << 20


class Locked(ResourceError):
    """Another live process holds the lock."""


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fsync_directory(path: Path) -> None:
    """Make renames inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` with `data` atomically; readers see the old bytes or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    fsync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` with UTF-8 `text` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, *, allow_nan: bool = False) -> None:
    """Replace `path` with `value` as indented JSON, atomically; NaN and infinity only if allowed."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n")


def point_symlink(link: Path, target: str) -> None:
    """Make `link` point at `target` (relative to the link's folder) by one atomic rename."""
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    aside.symlink_to(target)
    os.replace(aside, link)
    fsync_directory(link.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory; nothing happens when it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


@contextlib.contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """Yield an empty directory beside `final`; on success it becomes `final` by one rename.

    On any error the staging directory is removed and `final` is left as it was. `final` must not
    exist, or be an empty directory. Staging directories left by a killed process are named
    `.NAME.staging-PID` and removed by the next writer once that process is gone.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for stale in final.parent.glob(f".{final.name}.staging-*"):
        if not Path(f"/proc/{stale.name.rpartition('-')[2]}").exists():
            remove_tree(stale)
    staging = final.with_name(f".{final.name}.staging-{os.getpid()}")
    remove_tree(staging)
    staging.mkdir()
    try:
        yield staging
        for path in staging.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        os.replace(staging, final)
    except BaseException:
        remove_tree(staging)
        raise
    fsync_directory(final.parent)


@contextlib.contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Hold an advisory lock on `path`; the kernel releases it when the process ends, however it ends.

    Raises:
        Locked: another process holds it; the message names that process and `what` it is doing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise Locked(
                f"{what} is already running (process {holder})", mend="Wait for it, or end it"
            ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait for the lock on `path` and hold it: for work that another process may be doing just now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def require_disk_space(path: Path, needed_bytes: int, what: str) -> None:
    """Refuse before the work starts when the disk that holds `path` is too full.

    Raises:
        ResourceError: fewer than `needed_bytes` are free.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise ResourceError(
            f"{what} needs {decimal_size(needed_bytes)} on {existing}, {decimal_size(free_bytes)} are free",
            mend="Free some space (make clean removes generated files) or use another disk",
        )
