"""What can be asked of finished artifacts: their places, their verdicts, whether they may serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import QuantserveError
from quantserve.quantize.artifact import (
    ACCEPT,
    ArtifactError,
    Manifest,
    is_artifact,
    read_manifest,
    read_report,
)
from quantserve.quantize.artifact import promote as point_current


class NotAccepted(QuantserveError):
    """The gate has not accepted the artifact; the exit code is the gate's for a regression."""

    exit_code = 3


@dataclass(frozen=True)
class Entry:
    """One artifact as `list` shows it; `role` is current, previous or empty."""

    directory: Path
    manifest: Manifest
    verdict: str | None
    role: str


def find_artifacts(artifacts_dir: Path) -> list[Entry]:
    """Return every artifact under a folder, by name and then by age."""
    found = [
        describe(path.parent)
        for path in artifacts_dir.glob("*/*/manifest.json")
        if not path.parent.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(artifacts_dir).parts)
    ]
    return sorted(found, key=lambda entry: (entry.manifest.name, entry.manifest.created))


def describe(directory: Path) -> Entry:
    """Describe one artifact.

    Raises:
        ArtifactError: the directory is no artifact.
    """
    manifest = read_manifest(directory)
    home = directory.resolve().parent
    role = next(
        (
            role
            for role in ("current", "previous")
            if (home / role).is_symlink() and (home / role).resolve() == directory.resolve()
        ),
        "",
    )
    return Entry(directory, manifest, read_report(directory).get("verdict"), role)


def resolve(target: str, artifacts_dir: Path) -> Path:
    """Find an artifact by directory, by NAME/VERSION, or by a NAME whose current version is meant.

    Raises:
        ArtifactError: nothing of that name exists.
    """
    for candidate in (Path(target), artifacts_dir / target, artifacts_dir / target / "current"):
        if is_artifact(candidate):
            return candidate.resolve()
    raise ArtifactError(f"There is no artifact {target}", mend="See them all: quantserve quantize list")


def require_accepted(directory: Path, what: str) -> None:
    """Refuse an artifact that the gate has not accepted; `what` says what it may not do.

    Raises:
        NotAccepted: the gate has not said ACCEPT.
        ArtifactError: the directory is no artifact.
    """
    verdict = describe(directory).verdict
    if verdict != ACCEPT:
        said = f"the gate said {verdict}" if verdict else "the gate has not seen it"
        raise NotAccepted(
            f"{directory.name} {what}: {said}",
            mend=f"Run quantserve quantize gate {directory}, or override with --force",
        )


def promote(directory: Path, *, force: bool) -> Path | None:
    """Make an accepted artifact the one that is served; return the one it replaces.

    Raises:
        NotAccepted: the gate has not said ACCEPT, and `force` is off.
        ArtifactError: the directory is no artifact.
    """
    if not force:
        require_accepted(directory, "may not serve")
    return point_current(directory)
