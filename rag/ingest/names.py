"""Names of documents: how the index knows one, what a person types for it, and what an upload may be called.

A path is bytes, and may hold line breaks, terminal commands or bytes that are no UTF-8. The index knows a
document by a key that is always plain text on one line: the path itself, with such characters written as
escapes and its backslashes doubled, so that `path_of` gives the very path back and no two paths share a key.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath

from quantserve.core.errors import InputError
from quantserve.core.terminal import one_line
from quantserve.rag.store.manifest import IndexManifest

_MAX_NAME_BYTES = 200
_UNWANTED = re.compile(r"[\x00-\x1f\x7f<>:\"|?*]")
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[\\nrt])")


def key_of(path: Path | str) -> str:
    """Return what the index knows a file by."""
    return one_line(str(path).replace("\\", "\\\\"))


def path_of(key: str) -> Path:
    """Return the path of a key."""
    return Path(_ESCAPE.sub(_meant, key))


def _meant(match: re.Match[str]) -> str:
    meant: str = ast.literal_eval(f"'{match[0]}'")
    return meant


def display_name(path: Path) -> str:
    """Return the path as people know it: relative to the working directory where it lies under it."""
    working = Path.cwd()
    return one_line(str(path.relative_to(working)) if path.is_relative_to(working) else str(path))


def match_documents(names: Iterable[str], manifest: IndexManifest) -> set[str]:
    """Return the keys (and roots) that names stand for: a document, or everything under a folder.

    Raises:
        InputError: nothing has that name, or a bare file name is not enough to tell.
    """
    found: set[str] = set()
    for name in names:
        place = key_of(os.path.normpath(Path(name).absolute()))
        keys = {
            key
            for key, entry in manifest.files.items()
            if name in (key, entry.file) or key == place or key.startswith(place.rstrip(os.sep) + os.sep)
        }
        if not keys:
            keys = {key for key in manifest.files if PurePath(key).name == key_of(name)}
            if len(keys) > 1:
                raise InputError(
                    f"{len(keys)} documents are called {one_line(name)}",
                    mend=f"Name one: {', '.join(sorted(keys))}",
                )
        roots = {root for root in manifest.roots if root in (name, place)}
        if not keys and not roots:
            shown = [entry.file for entry in manifest.files.values()]
            near = difflib.get_close_matches(name, shown, n=3, cutoff=0.4)
            raise InputError(
                f"no document in the index is called {one_line(name)}",
                mend=f"Did you mean {', '.join(near)}?" if near else "See them: quantserve rag list",
            )
        found |= keys | roots
    return found


def upload_name(name: str) -> str:
    """Return the safe last component of a name that came from outside.

    `../../etc/x.txt` and `..\\..\\x.txt` are `x.txt`; what no file may be called is refused.

    Raises:
        InputError: nothing usable is left of it.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    cleaned = _UNWANTED.sub("_", last).strip().lstrip(".").strip()
    if not cleaned or len(cleaned.encode()) > _MAX_NAME_BYTES:
        raise InputError(f"{name[:80]!r} cannot be a file's name", mend="Rename the file and send it again")
    return cleaned


def is_under(key: str, root: str) -> bool:
    """Whether a document is a root, or lies in it."""
    return key == root or key.startswith(root.rstrip("/") + "/")
