"""What indexing says while it works and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from quantserve.rag.ingest.names import is_under
from quantserve.rag.ingest.sources import Found
from quantserve.rag.store.manifest import FileEntry, IndexManifest

_SHOWN = 5
"""Names in one line of what is passed over."""


@dataclass(frozen=True)
class IndexReport:
    """What indexing did; `problems` maps a file or folder to why it is not in the index.

    Names are those people see.
    """

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
    skipped: dict[str, str] = field(default_factory=dict)
    """Files under the given folders that no loader reads, with their format; hidden ones and stray links."""
    asked: int = 0
    """Of `files`, those that the paths given now stand for; the others were indexed before."""


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
    found: Found | None = None,
    wanted: Collection[str] = (),
) -> IndexReport:
    """Gather a report from a generation's manifest, what was done, and what was found on the way.

    wanted: the roots that were given, as the manifest keeps them.
    """
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
        problems={entry.file: entry.problem for entry in entries if entry.problem}
        | (found.problems if found is not None else {}),
        warnings={entry.file: said for entry in entries if (said := _warnings(entry))},
        skipped=dict(sorted(found.skipped.items())) if found is not None else {},
        asked=sum(
            not entry.problem and any(is_under(key, root) for root in wanted)
            for key, entry in manifest.files.items()
        ),
    )


def _warnings(entry: FileEntry) -> tuple[str, ...]:
    return (*entry.warnings, entry.stale) if entry.stale else entry.warnings


def passed_over(skipped: Mapping[str, str]) -> list[str]:
    """Return a line for each kind of file that is passed over, with some of their names."""
    by_kind: dict[str, list[str]] = {}
    for name, kind in sorted(skipped.items()):
        by_kind.setdefault(kind, []).append(name)
    return [
        f"{len(names)} × {kind}: {', '.join(names[:_SHOWN])}"
        + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for kind, names in sorted(by_kind.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]
