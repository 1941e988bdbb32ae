"""What there is to index now: the files and pages that the roots stand for, with their hashes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import sha256_file
from rag.config import FetchConfig
from rag.errors import PageGone, PageRefused, PageUnavailable
from rag.loaders.registry import expand
from rag.loaders.web import fetch, is_address

Fetch = Callable[[str, Path, FetchConfig], Path]


@dataclass(frozen=True)
class Source:
    """One document: `key` is its absolute path or address, `path` where its bytes are now."""

    key: str
    file: str
    path: Path | None
    sha256: str = ""
    """Empty where the bytes cannot be had."""
    size_bytes: int = 0
    problem: str = ""
    keep_old: bool = False
    """What the index holds of it stays, whatever the hash: it could not be asked for now."""


@dataclass(frozen=True)
class Found:
    """All documents, and the roots they came from."""

    roots: tuple[str, ...]
    sources: tuple[Source, ...]


def display_name(path: Path) -> str:
    """Return the path as people know it: relative to the working directory where it lies under it."""
    working = Path.cwd()
    return str(path.relative_to(working)) if path.is_relative_to(working) else str(path)


def root_of(given: Path | str) -> str:
    """Return a root as the manifest keeps it: an address as it is, a path absolute and without `..`."""
    text = str(given)
    return text if isinstance(given, str) and is_address(text) else os.path.normpath(Path(text).absolute())


def find_sources(
    given: Iterable[Path | str],
    known: Iterable[str],
    pages: Path,
    fetch_config: FetchConfig,
    note: Callable[[str], None],
    fetch_page: Fetch = fetch,
) -> Found:
    """Find every document under the roots given now and known from before; fetched pages go to `pages`.

    Raises:
        InputError: a path given now does not exist, an address given now may not be read or is not there,
            or there is no root at all.
    """
    wanted = list(dict.fromkeys(root_of(root) for root in given))
    before = [root for root in known if root not in wanted]
    if not wanted and not before:
        raise InputError("no document was named", mend="Say which: python -m rag index PATH…")
    expand([Path(root) for root in wanted if not is_address(root)])
    roots: list[str] = []
    sources: dict[str, Source] = {}
    for root in [*wanted, *before]:
        if is_address(root):
            source = _page(root, pages, fetch_config, fetch_page, note, is_new=root in wanted)
            if source is not None:
                roots.append(root)
                sources[root] = source
        elif Path(root).exists():
            roots.append(root)
            for path in expand([Path(root)]):
                if str(path) not in sources:
                    sources[str(path)] = _file(path)
        else:
            note(f"{display_name(Path(root))} is gone; what it held leaves the index")
    return Found(tuple(roots), tuple(sources.values()))


def _file(path: Path) -> Source:
    file = display_name(path)
    try:
        return Source(str(path), file, path, sha256_file(path), path.stat().st_size)
    except OSError as error:
        problem = f"{path.name}: {error.strerror or error}. Check that the file exists and may be read"
        return Source(str(path), file, None, problem=problem)


def _page(
    url: str,
    pages: Path,
    config: FetchConfig,
    fetch_page: Fetch,
    note: Callable[[str], None],
    *,
    is_new: bool,
) -> Source | None:
    folder = pages / str(len(list(pages.iterdir())))
    folder.mkdir()
    try:
        path = fetch_page(url, folder, config)
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
