"""What there is to index now: the files and pages that the roots stand for, with their hashes.

Whatever could not be looked at is named, and what the index holds of it stays: only what is really gone
leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from quantserve.core.errors import InputError
from quantserve.core.files import sha256_file
from quantserve.core.terminal import one_line
from quantserve.rag.config import FetchConfig
from quantserve.rag.errors import PageGone, PageRefused, PageUnavailable
from quantserve.rag.ingest.names import display_name, is_under, key_of, path_of
from quantserve.rag.loaders.walk import Walked, reason_of, require, walk
from quantserve.rag.loaders.web import fetch, is_address
from quantserve.rag.store.manifest import FileEntry

Fetch = Callable[[str, Path, FetchConfig], Path]


@dataclass(frozen=True)
class Source:
    """One document: `key` is what the index knows it by, `path` where its bytes are now."""

    key: str
    file: str
    path: Path | None
    sha256: str = ""
    """Empty where the bytes cannot be had."""
    size_bytes: int = 0
    problem: str = ""
    keep_old: bool = False
    """What the index holds of it stays, whatever the hash: it could not be looked at now."""


@dataclass
class Found:
    """All documents, the roots they came from, and what is no document."""

    roots: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    """By key."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that are passed over and their kind, by the name people see."""
    problems: dict[str, str] = field(default_factory=dict)
    """Places that could not be looked into, by the name people see."""


def root_of(given: Path | str) -> str:
    """Return a root as the manifest keeps it: an address as it is, or the key of an absolute path."""
    text = str(given)
    if isinstance(given, str) and is_address(text):
        return text
    return key_of(os.path.normpath(Path(text).absolute()))


def find_sources(
    given: Iterable[Path | str],
    known: Iterable[str],
    before: Mapping[str, FileEntry],
    pages: Callable[[], Path],
    fetch_config: FetchConfig,
    note: Callable[[str], None],
    fetch_page: Fetch = fetch,
) -> Found:
    """Find every document under the roots given now and known from before.

    `before` is what the index holds. `pages` gives a new folder for a fetched page.

    Raises:
        InputError: a path given now does not exist, an address given now may not be read or is not there,
            or there is no root at all.
    """
    wanted = list(dict.fromkeys(root_of(root) for root in given))
    older = [root for root in known if root not in wanted]
    if not wanted and not older:
        raise InputError("no document was named", mend="Say which: quantserve rag index PATH…")
    for root in wanted:
        if not is_address(root):
            require(path_of(root))
    found = Found()
    closed: list[tuple[Path, str]] = []
    for root in [*wanted, *older]:
        if is_address(root):
            source = _page(root, pages, fetch_config, fetch_page, note, is_new=root in wanted)
            if source is not None:
                found.roots.append(root)
                found.sources[root] = source
        elif _is_gone(path_of(root)):
            note(f"{display_name(path_of(root))} is gone; what it held leaves the index")
        else:
            found.roots.append(root)
            closed += _take_up(walk(path_of(root)), found)
    for path, reason in closed:
        _keep_what_is_under(path, reason, before, found)
    return found


def _is_gone(path: Path) -> bool:
    """Whether nothing is there any more; what merely cannot be looked at is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _take_up(walked: Walked, found: Found) -> Iterable[tuple[Path, str]]:
    """Add what is under one root; return the places that could not be looked into."""
    for path in walked.files:
        if (key := key_of(path)) not in found.sources:
            found.sources[key] = _file(key, path)
    for path, kind in walked.skipped.items():
        found.skipped[display_name(path)] = one_line(kind)
    return walked.unreadable.items()


def _keep_what_is_under(path: Path, reason: str, before: Mapping[str, FileEntry], found: Found) -> None:
    """Name a place that could not be looked into, and keep what the index has of it."""
    name, place = display_name(path), key_of(path)
    kept = [key for key in before if is_under(key, place) and key not in found.sources]
    for key in kept:
        problem = f"{PurePath(key).name}: {reason}; what was indexed of it before stays"
        found.sources[key] = Source(key, before[key].file, None, problem=problem, keep_old=True)
    stays = f"; the {len(kept)} documents that were indexed of it before stay" if kept else ""
    if place not in kept:
        found.problems[name] = f"{name}: {reason}{stays}. Check that it exists and may be read"


def _file(key: str, path: Path) -> Source:
    file = display_name(path)
    try:
        return Source(key, file, path, sha256_file(path), path.stat().st_size)
    except OSError as error:
        problem = f"{one_line(path.name)}: {reason_of(error)}. Check that the file exists and may be read"
        return Source(key, file, None, problem=problem, keep_old=True)


def _page(
    url: str,
    pages: Callable[[], Path],
    config: FetchConfig,
    fetch_page: Fetch,
    note: Callable[[str], None],
    *,
    is_new: bool,
) -> Source | None:
    try:
        path = fetch_page(url, pages(), config)
    except PageGone:
        if is_new:
            raise
        note(f"{url} is gone; what it held leaves the index")
        return None
    except PageUnavailable as error:
        return Source(url, url, None, problem=str(error), keep_old=True)
    except PageRefused as error:
        if is_new:
            raise
        # A page from before stays when its host is merely not named this time.
        return Source(url, url, None, problem=str(error), keep_old=True)
    return Source(url, url, path, sha256_file(path), path.stat().st_size)
