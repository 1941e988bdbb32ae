"""A copy of an artifact to carry elsewhere: a folder, or a tar file that unpacks into artifacts/."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from datetime import datetime
from pathlib import Path

from quantserve.core.errors import InputError
from quantserve.core.files import fsync_directory, require_disk_space, staged_directory
from quantserve.quantize.artifact import Manifest, check_files, read_manifest

# The mode that tarfile opens a file name with; the longest ending first.
_TAR_MODES = {".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar": "w"}


def export(directory: Path, destination: Path) -> Path:
    """Copy an artifact to a new folder, or pack it into a tar file by the destination's ending.

    Every file is checked first. A tar file holds NAME/VERSION/…, and the same artifact always gives the
    same bytes, gzip's aside: entries are sorted and dated when the artifact was made.

    Raises:
        ArtifactError: a file is missing, truncated or changed.
        InputError: the destination exists.
        ResourceError: the disk is too full.
    """
    manifest = read_manifest(directory)
    check_files(directory, manifest, full=True)
    if destination.exists():
        raise InputError(f"{destination} exists already", mend="Name a new folder or file, or remove it")
    require_disk_space(destination, manifest.size_bytes, "The copy")
    mode = next((mode for ending, mode in _TAR_MODES.items() if destination.name.endswith(ending)), None)
    if mode is None:
        with staged_directory(destination) as staging:
            for path in _files(directory):
                copy = staging / path.relative_to(directory)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    else:
        _pack(directory, manifest, destination, mode)
    return destination


def _files(directory: Path) -> list[Path]:
    """Return the artifact's files and what the gate wrote beside them, without hidden ones."""
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]


def _pack(directory: Path, manifest: Manifest, destination: Path, mode: str) -> None:
    made = int(datetime.fromisoformat(manifest.created).timestamp())

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = made
        member.mode = 0o644
        return member

    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = destination.with_name(f".{destination.name}.{os.getpid()}")
    try:
        with tarfile.open(aside, mode) as archive:  # type: ignore[call-overload]
            for path in _files(directory):
                name = f"{manifest.name}/{manifest.version}/{path.relative_to(directory)}"
                archive.add(path, name, recursive=False, filter=plain)
        with aside.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(aside, destination)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        raise
    fsync_directory(destination.parent)
