"""What can be asked of finished artifacts: where, which verdict, may they serve, what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import QuantserveError
from quantserve.core.files import sha256_file
from quantserve.quantize.artifact import (
    ACCEPT,
    ArtifactError,
    FileRecord,
    Manifest,
    is_artifact,
    read_manifest,
    read_report,
)
from quantserve.quantize.artifact import promote as point_current
from quantserve.quantize.models.checks import PICKLE_SUFFIXES, CheckpointError, check_checkpoint
from quantserve.quantize.models.companions import LFS_PREFIX

CODE_SUFFIXES = (*PICKLE_SUFFIXES, ".py", ".so")


class NotAccepted(QuantserveError):
    """The gate has not accepted the artifact; the exit code is the gate's for a regression."""

    exit_code = 3


@dataclass(frozen=True)
class ArtifactEntry:
    """One artifact as `list` shows it; `role` is current, previous or empty."""

    directory: Path
    manifest: Manifest
    verdict: str | None
    role: str


def find_artifacts(artifacts_dir: Path) -> list[ArtifactEntry]:
    """Return every artifact under a folder, by name and then by age."""
    found = [
        describe(path.parent)
        for path in artifacts_dir.glob("*/*/manifest.json")
        if not path.parent.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(artifacts_dir).parts)
    ]
    return sorted(found, key=lambda entry: (entry.manifest.name, entry.manifest.created))


def describe(directory: Path) -> ArtifactEntry:
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
    return ArtifactEntry(directory, manifest, read_report(directory).get("verdict"), role)


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
        why = f"the gate said {verdict}" if verdict else "the gate has not seen it"
        raise NotAccepted(
            f"{directory.name} {what}: {why}",
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


@dataclass(frozen=True)
class Problem:
    """A file that is not as it was made: `kind` is missing, pointer, truncated, changed, code or unusable."""

    file: str
    kind: str
    text: str


def problems(directory: Path, manifest: Manifest, *, full: bool) -> list[Problem]:
    """Return every problem; `full` reads and hashes every file, without it sizes alone are compared."""
    found = []
    for name, record in manifest.files.items():
        problem = _problem(directory / name, name, record, full=full)
        if problem:
            found.append(problem)
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and path.suffix in CODE_SUFFIXES and name not in manifest.files:
            found.append(Problem(name, "code", "came later and could run code when loaded"))
    if not found:
        try:
            check_checkpoint(directory)
        except CheckpointError as error:
            found.append(Problem("", "unusable", error.problem))
    return found


def _problem(path: Path, name: str, record: FileRecord, *, full: bool) -> Problem | None:
    if not path.is_file():
        return Problem(name, "missing", "is missing")
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(len(LFS_PREFIX))
    if head == LFS_PREFIX:
        return Problem(name, "pointer", f"is a Git LFS pointer; run git -C {path.parent} lfs pull")
    if size_bytes < record.size_bytes:
        return Problem(name, "truncated", f"has {size_bytes} bytes, its manifest says {record.size_bytes}")
    if size_bytes != record.size_bytes:
        return Problem(name, "changed", f"has {size_bytes} bytes, its manifest says {record.size_bytes}")
    if full and sha256_file(path) != record.sha256:
        return Problem(name, "changed", "was changed after it was made")
    return None
