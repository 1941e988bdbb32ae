"""What indexing says while it works and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rag.store.manifest import IndexManifest


@dataclass(frozen=True)
class IndexReport:
    """What indexing did; `problems` maps a file to why it is not in the index."""

    unchanged: bool
    generation: str
    files: int
    chunks: int
    embedded: int
    """Chunks whose vector had to be computed."""
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Listener:
    """Where progress goes."""

    reading: Callable[[str, int, int], None] = lambda file, done, total: None
    embedding: Callable[[int, int], None] = lambda done, total: None
    note: Callable[[str], None] = lambda text: None


QUIET = Listener()


def report_on(
    manifest: IndexManifest,
    generation: str,
    *,
    unchanged: bool = False,
    embedded: int = 0,
    added: tuple[str, ...] = (),
    changed: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
) -> IndexReport:
    """Gather a report from a generation's manifest and what was done."""
    entries = manifest.files.values()
    return IndexReport(
        unchanged=unchanged,
        generation=generation,
        files=sum(not entry.problem for entry in entries),
        chunks=manifest.chunks,
        embedded=embedded,
        added=added,
        changed=changed,
        removed=removed,
        problems={entry.file: entry.problem for entry in entries if entry.problem},
        warnings={entry.file: entry.warnings for entry in entries if entry.warnings},
    )
