"""Clear away old versions: never one that serves, served before, or is among the newest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock, remove_tree
from quantserve.quantize.artifact import MANIFEST
from quantserve.quantize.lifecycle.places import ArtifactEntry, find_artifacts

_SERVING_STATE = "serving.json"


@dataclass(frozen=True)
class Removed:
    """What one collection removed, or would remove."""

    versions: tuple[Path, ...]
    unfinished: tuple[Path, ...]
    freed_bytes: int


def removable(entries: list[ArtifactEntry], keep: int, serving: Path | None) -> list[ArtifactEntry]:
    """Return the versions to remove: beyond the `keep` newest of their name, and neither current nor
    previous nor what `serving` points at. Pure.
    """
    found = []
    for name in dict.fromkeys(entry.directory.resolve().parent for entry in entries):
        versions = [entry for entry in entries if entry.directory.resolve().parent == name]
        newest_first = sorted(versions, key=lambda entry: entry.manifest.created, reverse=True)
        found += [
            entry for entry in newest_first[keep:] if not entry.role and entry.directory.resolve() != serving
        ]
    return found


def collect(artifacts_dir: Path, run_dir: Path, *, keep: int, name: str | None, dry_run: bool) -> Removed:
    """Remove old versions and what a killed run left behind, of one name or of all.

    A version loses its manifest first, so that a crash leaves no half an artifact that looks whole.

    Raises:
        UsageError: `keep` is negative, or there is no artifact of that name.
        Locked: a promotion or a quantization is under way.
    """
    if keep < 0:
        raise UsageError(f"--keep {keep} is negative", mend="Say how many of the newest to keep")
    removed: list[Path] = []
    unfinished: list[Path] = []
    freed_bytes = 0
    serving = _served(run_dir)
    if name is not None and not (artifacts_dir / name).is_dir():
        raise UsageError(f"There is no artifact {name}", mend="See them all: quantserve quantize list")
    named = [artifacts_dir / name] if name is not None else sorted(artifacts_dir.glob("[!.]*"))
    homes = [home for home in named if home.is_dir()]
    for home in homes:
        with (
            exclusive_lock(home / ".quantize.lock", f"quantizing {home.name}"),
            exclusive_lock(home / ".lock", f"promotion in {home}"),
        ):
            entries = [entry for entry in find_artifacts(artifacts_dir) if entry.directory.parent == home]
            gone = [entry.directory for entry in removable(entries, keep, serving)]
            left = [path for path in sorted(home.glob(".*.staging-*")) if path.is_dir()]
            for directory in (*gone, *left):
                freed_bytes += sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())
                if not dry_run:
                    (directory / MANIFEST).unlink(missing_ok=True)
                    remove_tree(directory)
            removed += gone
            unfinished += left
    return Removed(tuple(removed), tuple(unfinished), freed_bytes)


def _served(run_dir: Path) -> Path | None:
    """Return the directory a server was started on; none when there is no readable state."""
    try:
        target = json.loads((run_dir / _SERVING_STATE).read_bytes()).get("target")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(target).resolve() if isinstance(target, str) else None
