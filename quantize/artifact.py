"""The artifact directory: what quantize writes and serving reads.

    artifacts/NAME/VERSION/   config.json *.safetensors tokenizer… manifest.json (last)
                              report.json report.html README.md (the gate's, rewritten at each run)
    artifacts/NAME/current    symlink to the VERSION that is served
    artifacts/NAME/previous   symlink to the VERSION that was served before

A directory without a manifest does not exist for anyone. Needs nothing beyond core.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantserve.core.errors import InputError
from quantserve.core.files import exclusive_lock, point_symlink, sha256_file, write_json
from quantserve.core.json_input import read_json_object

MANIFEST = "manifest.json"
REPORT = "report.json"
ACCEPT = "ACCEPT"
"""The gate's verdict, in its report, on an artifact that may serve."""
PAGE = "report.html"
CARD = "README.md"
SCHEMA_VERSION = 4
# The gate rewrites these after the manifest is written, so the manifest does not hash them.
_UNHASHED = {MANIFEST, REPORT, PAGE, CARD}


class ArtifactError(InputError):
    """A directory is not a usable artifact."""


class _ManifestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_ManifestModel):
    """One file of the artifact."""

    sha256: str
    size_bytes: int


class Parent(_ManifestModel):
    """A checkpoint or adapter the artifact was made from; `sha256` is its content hash."""

    id: str
    sha256: str


class CalibrationPart(_ManifestModel):
    """One source of calibration text: its share of the tokens asked for, and its commit on the hub."""

    source: str
    weight: float
    documents: int
    sha256: str
    revision: str | None = None


class CalibrationRecord(_ManifestModel):
    """The text the method calibrated on.

    `languages` maps a language code to its share of tokens; `asked_languages` is the option as given;
    `warnings` holds the names of what was amiss with the text. Before schema version 2 there were no
    parts, no warnings and no asked languages.
    """

    source: str
    sha256: str
    tokens: int
    sequences: int
    languages: dict[str, float] = Field(default_factory=dict)
    parts: list[CalibrationPart] = Field(default_factory=list)
    asked_languages: str | None = None
    warnings: list[str] = Field(default_factory=list)


class Proof(_ManifestModel):
    """What a run beside the base in float32 showed before the artifact was called made.

    Errors are relative; layers are counted from 0. `folded_error` is the largest of all layers after scales
    moved and before anything was rounded, None where none moved. `logit_error` is the artifact's,
    `plain_logit_error` that of plain rounding on the same grid; `worst_layer` is where the artifact's output
    is farthest beyond plain rounding's.
    """

    tokens: int
    folded_error: float | None
    folded_layer: int | None
    logit_error: float
    plain_logit_error: float
    worst_layer: int
    worst_layer_error: float
    worst_layer_plain_error: float


class Manifest(_ManifestModel):
    """Everything needed to know where an artifact came from and whether its files are whole.

    A field that an imported checkpoint does not reveal is None. `quantized` counts the matrices that were
    rounded, `unquantized` names those that stay in 16 bits and says why, `unseen` those that no calibration
    text reached; `rejected` says what the proof found wrong with attempts that asked for more. Before schema
    version 3 there were none of these and no proof; until version 4 `unquantized` was called `kept`, and the
    parameter `precision_override` `keep`.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    key: str = Field(description="content key of base, method, parameters and calibration")
    created: str = Field(description="ISO 8601, UTC")
    method: str
    bits: float | None
    parameters: dict[str, Any]
    base: Parent | None
    adapter: Parent | None = None
    calibration: CalibrationRecord | None = None
    chat_template_sha256: str | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    proof: Proof | None = None
    quantized: int | None = None
    unquantized: dict[str, str] = Field(default_factory=dict)
    unseen: list[str] = Field(default_factory=list)
    rejected: list[str] = Field(default_factory=list)
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    files: dict[str, FileRecord]

    @property
    def size_bytes(self) -> int:
        """Size of all hashed files together."""
        return sum(record.size_bytes for record in self.files.values())

    @property
    def weight_bytes(self) -> int:
        """Size of the weight files alone."""
        return sum(r.size_bytes for name, r in self.files.items() if name.endswith(".safetensors"))


def now() -> str:
    """Return the current time as the manifest writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_records(directory: Path) -> dict[str, FileRecord]:
    """Hash every file of a finished artifact directory except the manifest and what the gate writes."""
    return {
        str(path.relative_to(directory)): FileRecord(sha256=sha256_file(path), size_bytes=path.stat().st_size)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in _UNHASHED
    }


def template_sha256(directory: Path) -> str | None:
    """Hash the chat template of a finished artifact directory, if it has one."""
    template = directory / "chat_template.jinja"
    return sha256_file(template) if template.is_file() else None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, which brings the artifact into existence."""
    write_json(directory / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(directory: Path) -> Manifest:
    """Read and validate an artifact's manifest.

    Raises:
        ArtifactError: there is none, or it is not one this version understands.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{directory} holds no {MANIFEST}", mend="Make one: quantserve quantize run")
    value = read_json_object(path, error=ArtifactError, mend="Quantize again: quantserve quantize run")
    _refuse_newer(path, value)
    try:
        manifest = Manifest.model_validate(_with_today_s_names(value), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ArtifactError(
            f"{path} is not a valid manifest: {where}: {first['msg']}",
            mend="Quantize again: quantserve quantize run",
        ) from error
    return manifest


def _refuse_newer(path: Path, value: dict[str, Any]) -> None:
    """Refuse a newer manifest by its version alone, before a field it may have added confuses."""
    version = value.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}, this program reads up to {SCHEMA_VERSION}",
            mend="Update quantserve",
        )


def _with_today_s_names(value: dict[str, Any]) -> dict[str, Any]:
    """Return an older manifest with its fields as they are called now."""
    renamed = {"unquantized" if name == "kept" else name: item for name, item in value.items()}
    parameters = renamed.get("parameters")
    if isinstance(parameters, dict) and "keep" in parameters:
        names = {"keep": "precision_override"}
        renamed["parameters"] = {names.get(name, name): item for name, item in parameters.items()}
    return renamed


def is_artifact(directory: Path) -> bool:
    """Whether the directory has a manifest."""
    return (directory / MANIFEST).is_file()


def check_files(directory: Path, manifest: Manifest, *, full: bool) -> None:
    """Check that every file is there with its size, and with `full` also its hash.

    Raises:
        ArtifactError: naming the first file that is missing, truncated or changed.
    """
    for name, record in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", mend="Restore it, or quantize again")
        size_bytes = path.stat().st_size
        if size_bytes != record.size_bytes:
            raise ArtifactError(
                f"{path} has {size_bytes} bytes, its manifest says {record.size_bytes}",
                mend="Restore it, or quantize again",
            )
        if full and sha256_file(path) != record.sha256:
            raise ArtifactError(f"{path} was changed after it was made", mend="Restore it, or quantize again")


def read_report(directory: Path) -> dict[str, Any]:
    """Return the gate's report, or an empty dict before the first gate run.

    Raises:
        ArtifactError: it is no report.
    """
    path = directory / REPORT
    if not path.is_file():
        return {}
    return read_json_object(path, error=ArtifactError, mend="Judge it again: quantserve quantize gate")


def promote(directory: Path) -> Path | None:
    """Point `current` at this version and `previous` at the one before; return the previous target.

    Promoting what is current already changes nothing. The caller decides whether it may serve.

    Raises:
        ArtifactError: the directory is no artifact.
    """
    directory = directory.resolve()
    read_manifest(directory)
    home = directory.parent
    with exclusive_lock(home / ".lock", f"promotion in {home}"):
        current = home / "current"
        before = current.resolve() if current.is_symlink() else None
        if before == directory:
            return None
        if before is not None and is_artifact(before):
            point_symlink(home / "previous", before.name)
        point_symlink(current, directory.name)
        return before


def rollback(home: Path) -> Path:
    """Exchange `current` and `previous` of artifacts/NAME; return the version that is current now.

    Raises:
        ArtifactError: there is no previous version to go back to.
    """
    with exclusive_lock(home / ".lock", f"promotion in {home}"):
        current, previous = home / "current", home / "previous"
        if not (previous.is_symlink() and is_artifact(previous)):
            raise ArtifactError(
                f"{home} has no previous version to roll back to", mend="Promote one: quantize promote"
            )
        target, before = previous.resolve(), current.resolve()
        point_symlink(current, target.name)
        point_symlink(previous, before.name)
        return target
