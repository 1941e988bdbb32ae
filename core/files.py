"""Files that survive a crash: write aside, fsync, rename; locks that a dead process releases.

What holds keys, questions, answers or logs is private: its owner alone may read it (0600, folders 0700),
whatever the umask says. Everything else obeys the umask.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from quantserve.core.errors import ResourceError
from quantserve.core.sizes import decimal_size

_CHUNK_BYTES = 1 << 20
_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_PUBLIC_FILE = 0o666
"""Before the umask."""
_PUBLIC_FOLDER = 0o777
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""A disk, a quota or a limit on a file's size is used up."""
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR})


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


def private_folder(path: Path) -> None:
    """Make a folder, and what is missing above it, for its owner alone; one that exists stays as it is."""
    missing: list[Path] = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)


def _make_folder(path: Path, *, private: bool) -> None:
    if private:
        private_folder(path)
    else:
        path.mkdir(parents=True, exist_ok=True)


def _private_opener(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, _PRIVATE_FILE)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        os.fchmod(descriptor, _PRIVATE_FILE)
    return descriptor


def open_private(path: Path, mode: str, encoding: str | None = None) -> IO[Any]:
    """Open a file that its owner alone may read, also where one was there that others could.

    What is no plain file (/dev/null, a pipe) keeps its mode, and so does another user's file.
    """
    return open(path, mode, encoding=encoding, opener=_private_opener)


def private_file(path: Path) -> None:
    """Make `path` a file that its owner alone may read, before something else (SQLite) opens it."""
    private_folder(path.parent)
    open_private(path, "ab").close()


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace `path` with `data` atomically; readers see the old bytes or the new, never half."""
    _make_folder(path.parent, private=private)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(aside, flags, _PRIVATE_FILE if private else _PUBLIC_FILE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Replace `path` with UTF-8 `text` atomically."""
    write_bytes(path, text.encode(), private=private)


def write_json(path: Path, value: Any, *, private: bool = False, allow_nan: bool = False) -> None:
    """Replace `path` with `value` as indented JSON, atomically; NaN and infinity only if allowed."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    write_text(path, text, private=private)


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
def staged_directory(final: Path, *, private: bool = False) -> Iterator[Path]:
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
    staging.mkdir(mode=_PRIVATE_FOLDER if private else _PUBLIC_FOLDER)
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
def exclusive_lock(path: Path, what: str, *, private: bool = False) -> Iterator[None]:
    """Hold an advisory lock on `path`; the kernel releases it when the process ends, however it ends.

    A `private` one guards private files: the folder, where it is missing, is made for its owner alone.

    Raises:
        Locked: another process holds it; the message names that process and `what` it is doing.
    """
    _make_folder(path.parent, private=private)
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
def one_at_a_time(path: Path, *, private: bool = False) -> Iterator[None]:
    """Wait for the lock on `path` and hold it: for work that another process may be doing just now.

    A `private` one guards private files: the folder, where it is missing, is made for its owner alone.
    """
    _make_folder(path.parent, private=private)
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


@contextlib.contextmanager
def writing_to(path: Path, what: str) -> Iterator[None]:
    """Turn what a disk refuses into one line that says the way out; other errors pass.

    Raises:
        ResourceError: the disk is full, read-only or broken, or the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        # NumPy's short writes carry no number: whether the disk is full is asked of the disk.
        if error.errno in _FULL or (error.errno is None and _is_full(path)):
            raise ResourceError(
                f"the disk that holds {path} is full: {what} was not written, nothing half-written was left",
                mend="Free some space, or name a folder on another disk",
            ) from error
        if error.errno is None or error.errno in _REFUSED:
            raise ResourceError(
                f"{what} cannot be written to {path}: {error.strerror or error}",
                mend="Mend the folder's disk or rights, or name another folder",
            ) from error
        raise


def _is_full(path: Path) -> bool:
    existing = path
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free < _CHUNK_BYTES
