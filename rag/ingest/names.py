"""Names of documents: what a person types for one in the index, and what an upload may be called."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath

from core.errors import InputError
from rag.store.manifest import IndexManifest

_MAX_NAME_BYTES = 200
_UNWANTED = re.compile(r"[\x00-\x1f\x7f<>:\"|?*]")


def match_documents(names: Iterable[str], manifest: IndexManifest) -> set[str]:
    """Return the keys (and roots) that names stand for: a document, or everything under a folder.

    Raises:
        InputError: nothing has that name, or a bare file name is not enough to tell.
    """
    found: set[str] = set()
    for name in names:
        place = os.path.normpath(Path(name).absolute())
        keys = {
            key
            for key, entry in manifest.files.items()
            if name in (key, entry.file) or key == place or key.startswith(place + os.sep)
        }
        if not keys:
            keys = {key for key in manifest.files if PurePath(key).name == name}
            if len(keys) > 1:
                raise InputError(
                    f"{len(keys)} documents are called {name}", mend=f"Name one: {', '.join(sorted(keys))}"
                )
        roots = {root for root in manifest.roots if root in (name, place)}
        if not keys and not roots:
            shown = [entry.file for entry in manifest.files.values()]
            near = difflib.get_close_matches(name, shown, n=3, cutoff=0.4)
            raise InputError(
                f"no document in the index is called {name}",
                mend=f"Did you mean {', '.join(near)}?" if near else "See them: python -m rag list",
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
