"""`quantize promote | rollback | list | show | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.console import console, emit_json
from quantize import artifact, lifecycle
from quantize.config import ARTIFACTS_DIR

Target = Annotated[str, typer.Argument(help="Artifact directory, NAME/VERSION, or NAME")]
Artifacts = Annotated[Path, typer.Option(help="Where artifacts are kept")]


def promote(
    target: Target,
    force: Annotated[bool, typer.Option("--force", help="Though the gate has not said ACCEPT")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Make an artifact that the gate accepted the current one."""
    directory = lifecycle.resolve(target, artifacts_dir)
    before = lifecycle.promote(directory, force=force)
    console.print(f"{directory.parent.name}: {directory.name} is current", markup=False, soft_wrap=True)
    emit_json(
        {"artifact": str(directory), "current": directory.name, "replaced": before.name if before else None}
    )


def rollback(
    name: Annotated[str, typer.Argument(help="Artifact name")], artifacts_dir: Artifacts = ARTIFACTS_DIR
) -> None:
    """Exchange the current version and the previous one."""
    home = artifacts_dir / name
    if not home.is_dir():
        raise artifact.ArtifactError(
            f"There is no artifact {name}", mend="See them all: python -m quantize list"
        )
    directory = artifact.rollback(home)
    console.print(f"{name}: {directory.name} is current again", markup=False, soft_wrap=True)
    emit_json({"artifact": str(directory), "current": directory.name})


def list_artifacts(artifacts_dir: Artifacts = ARTIFACTS_DIR) -> None:
    """List every artifact with its verdict and which one is current."""
    entries = lifecycle.find_artifacts(artifacts_dir)
    table = Table("artifact", "bits", "MB", "verdict", "role", "created")
    table.columns[0].overflow = "fold"
    for entry in entries:
        manifest = entry.manifest
        table.add_row(
            f"{manifest.name}/{manifest.version}",
            "?" if manifest.bits is None else f"{manifest.bits:g}",
            f"{manifest.size_bytes / 1e6:.0f}",
            entry.verdict or "not gated",
            entry.role,
            manifest.created,
        )
    console.print(table if entries else f"No artifact in {artifacts_dir} yet: python -m quantize run")
    emit_json(
        {
            "artifacts": [
                {
                    "artifact": str(entry.directory),
                    "name": entry.manifest.name,
                    "version": entry.manifest.version,
                    "verdict": entry.verdict,
                    "role": entry.role or None,
                    "size_bytes": entry.manifest.size_bytes,
                }
                for entry in entries
            ]
        }
    )


def show(target: Target, artifacts_dir: Artifacts = ARTIFACTS_DIR) -> None:
    """Show one artifact's manifest."""
    entry = lifecycle.describe(lifecycle.resolve(target, artifacts_dir))
    value = entry.manifest.model_dump(mode="json")
    table = Table("what", "value", title=f"{entry.manifest.name} {entry.manifest.version}")
    for key, item in {**value, "verdict": entry.verdict, "role": entry.role or None}.items():
        if key == "files":
            item = f"{len(item)} files, {entry.manifest.size_bytes / 1e6:.1f} MB"
        elif isinstance(item, dict):
            item = ", ".join(f"{name}={part}" for name, part in item.items())
        table.add_row(key, "unknown" if item is None else str(item))
    console.print(table)
    emit_json({**value, "verdict": entry.verdict, "role": entry.role or None})


def verify(
    target: Target,
    full: Annotated[bool, typer.Option("--full", help="Compare every file's SHA-256 too")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Check that an artifact's files are there, whole and (with --full) unchanged."""
    directory = lifecycle.resolve(target, artifacts_dir)
    manifest = artifact.read_manifest(directory)
    artifact.check_files(directory, manifest, full=full)
    console.print(
        f"{directory}: {len(manifest.files)} files are {'unchanged' if full else 'there with their sizes'}",
        markup=False,
        soft_wrap=True,
    )
    emit_json({"artifact": str(directory), "files": len(manifest.files), "full": full, "ok": True})
