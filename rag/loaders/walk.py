"""What lies under a path: files to read, things passed over and why, and places that cannot be looked into.

Nothing is left out in silence: whatever is neither read nor a plain folder is named in one of the last two.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from quantserve.core.errors import InputError
from quantserve.core.terminal import one_line
from quantserve.rag.loaders.kinds import kind_of, special_kind
from quantserve.rag.loaders.registry import LOADERS

HIDDEN = "hidden"


@dataclass
class Walked:
    """Every path is absolute and without `..`: one file has one name."""

    files: dict[Path, None] = field(default_factory=dict)
    """What a loader reads, in the order of names."""
    skipped: dict[Path, str] = field(default_factory=dict)
    """What is passed over, with its format or another reason."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files and folders that could not be looked at, with the system's reason."""


def walk(root: Path) -> Walked:
    """Look at a file or at everything below a folder; links to folders are not followed.

    A root that is named is a document whatever its suffix says; in a folder, kinds that no loader reads,
    hidden things, and links that lead out of it are passed over.
    """
    found = Walked()
    root = Path(os.path.normpath(root.absolute()))
    try:
        status = root.stat()
    except OSError as error:
        found.unreadable[root] = reason_of(error)
        return found
    if not stat.S_ISDIR(status.st_mode):
        _add_named(root, status.st_mode, found)
        return found
    real = root.resolve()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        entries: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as listing:
                entries.extend(listing)
        except OSError as error:  # what was listed before it broke off is looked at all the same
            found.unreadable[folder] = reason_of(error)
        below: list[Path] = []
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                if _look_at(entry, real, found):
                    below.append(Path(entry.path))
            except OSError as error:
                found.unreadable[Path(entry.path)] = reason_of(error)
        waiting.extend(reversed(below))
    found.files = dict.fromkeys(sorted(found.files))
    return found


def _add_named(path: Path, mode: int, found: Walked) -> None:
    if special := special_kind(mode):
        found.unreadable[path] = f"is a {special}, not a file"
    else:
        found.files[path] = None


def _look_at(entry: os.DirEntry[str], real: Path, found: Walked) -> bool:
    """Sort one thing in; return whether it is a folder to look into."""
    path = Path(entry.path)
    if entry.name.startswith("."):
        found.skipped[path] = HIDDEN
        return False
    if entry.is_dir(follow_symlinks=False):
        return True
    is_link = entry.is_symlink()
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        found.unreadable[path] = f"is a link to nothing ({reason_of(error)})" if is_link else reason_of(error)
        return False
    if is_link and not path.resolve().is_relative_to(real):
        found.skipped[path] = "link out of the folder"
    elif special := special_kind(mode):
        found.skipped[path] = f"link to a {special}" if is_link else special
    elif path.suffix.lower() in LOADERS:
        found.files[path] = None
    else:
        found.skipped[path] = kind_of(path)
    return False


def reason_of(error: OSError) -> str:
    """Return the system's own words for what went wrong."""
    return error.strerror or type(error).__name__


def expand(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths stand for: files as they are, folders recursively, absolute, once each.

    Raises:
        InputError: a path does not exist, or cannot be looked at.
    """
    found: dict[Path, None] = {}
    for path in paths:
        require(path)
        found.update(walk(path).files)
    return list(found)


def require(path: Path) -> None:
    """Refuse a path that is not there.

    Raises:
        InputError: it does not exist, or cannot be looked at.
    """
    try:
        path.stat()
    except FileNotFoundError as error:
        raise InputError(
            f"{one_line(str(path))} does not exist", mend="Name a file or a folder with documents"
        ) from error
    except OSError as error:
        raise InputError(
            f"{one_line(str(path))} cannot be read: {reason_of(error)}", mend="Mend it, or name another path"
        ) from error
