"""What happens to each document: kept, read, or removed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quantserve.rag.ingest.names import is_under
from quantserve.rag.ingest.sources import Found, Source
from quantserve.rag.store.manifest import FileEntry


@dataclass(frozen=True)
class Plan:
    """The next generation's documents."""

    roots: tuple[str, ...]
    excluded: tuple[str, ...]
    keep: tuple[str, ...]
    """Keys of documents whose chunks and vectors are taken over."""
    read: tuple[Source, ...]
    removed: tuple[str, ...]
    """Names of documents that leave the index."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Why a kept document could not be looked at this time, by key, where that is news; empty: it could."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Files that are passed over and their kind, by the name people see."""


def plan_documents(
    found: Found, excluded: frozenset[str], before: Mapping[str, FileEntry], *, reusable: bool
) -> Plan:
    """Compare what there is with what is indexed.

    `reusable` is false when the model or the splitting changed: then nothing is kept.
    """
    sources = {key: source for key, source in found.sources.items() if key not in excluded}
    keep = [key for key, source in sources.items() if reusable and _is_kept(source, before.get(key))]
    kept = set(keep)
    return Plan(
        roots=tuple(found.roots),
        excluded=tuple(sorted(key for key in excluded if any(is_under(key, root) for root in found.roots))),
        keep=tuple(keep),
        read=tuple(source for key, source in sources.items() if key not in kept),
        removed=tuple(entry.file for key, entry in before.items() if key not in sources),
        stale={
            key: sources[key].problem
            for key in keep
            if not before[key].problem and sources[key].problem != before[key].stale
        },
        skipped=found.skipped,
    )


def _is_kept(source: Source, entry: FileEntry | None) -> bool:
    if entry is None:
        return False
    if source.keep_old:
        return entry.problem in ("", source.problem)
    return bool(source.sha256) and entry.sha256 == source.sha256
