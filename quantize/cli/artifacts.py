"""`quantize list | show | diff | verify | promote | rollback | gc | pull | push | export | convert`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from quantserve.core.checkpoints import model_name
from quantserve.core.console import console, emit_json
from quantserve.core.sizes import decimal_size
from quantserve.quantize import artifact
from quantserve.quantize.config import ARTIFACTS_DIR, MODELS_DIR, RUN_DIR
from quantserve.quantize.lifecycle import gc as collection
from quantserve.quantize.lifecycle import hub, places
from quantserve.quantize.lifecycle.comparison import Row, compare
from quantserve.quantize.lifecycle.conversion import convert as convert_pickles
from quantserve.quantize.lifecycle.export import export as export_artifact

Target = Annotated[str, typer.Argument(help="Artifact directory, NAME/VERSION, or NAME")]
Artifacts = Annotated[Path, typer.Option(help="Where artifacts are kept")]


def _report(line: str, **facts: Any) -> None:
    """Say what was done in one line for people and as JSON for programs."""
    console.print(line, soft_wrap=True)
    emit_json(facts)


def promote(
    target: Target,
    force: Annotated[bool, typer.Option("--force", help="Though the gate has not said ACCEPT")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Make an artifact that the gate accepted the current one."""
    directory = places.resolve(target, artifacts_dir)
    before = places.promote(directory, force=force)
    _report(
        f"{directory.parent.name}: {directory.name} is current",
        artifact=str(directory),
        current=directory.name,
        replaced=before.name if before else None,
    )


def rollback(
    name: Annotated[str, typer.Argument(help="Artifact name")], artifacts_dir: Artifacts = ARTIFACTS_DIR
) -> None:
    """Exchange the current version and the previous one."""
    home = artifacts_dir / name
    if not home.is_dir():
        raise artifact.ArtifactError(
            f"There is no artifact {name}", mend="See them all: quantserve quantize list"
        )
    directory = artifact.rollback(home)
    line = f"{name}: {directory.name} is current again"
    _report(line, artifact=str(directory), current=directory.name)


def list_artifacts(artifacts_dir: Artifacts = ARTIFACTS_DIR) -> None:
    """List every artifact with its verdict and which one is current."""
    entries = places.find_artifacts(artifacts_dir)
    table = Table("artifact", "bits", "size", "verdict", "role", "created")
    table.columns[0].overflow = "fold"
    for entry in entries:
        manifest = entry.manifest
        table.add_row(
            f"{manifest.name}/{manifest.version}",
            "?" if manifest.bits is None else f"{manifest.bits:g}",
            decimal_size(manifest.size_bytes),
            entry.verdict or "not gated",
            entry.role,
            manifest.created,
        )
    console.print(table if entries else f"No artifact in {artifacts_dir} yet: quantserve quantize run")
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
    entry = places.describe(places.resolve(target, artifacts_dir))
    value = entry.manifest.model_dump(mode="json")
    table = Table("what", "value", title=f"{entry.manifest.name} {entry.manifest.version}")
    for key, item in {**value, "verdict": entry.verdict, "role": entry.role or None}.items():
        if key == "files":
            item = f"{len(item)} files, {decimal_size(entry.manifest.size_bytes)}"
        elif isinstance(item, dict):
            item = ", ".join(f"{name}={part}" for name, part in item.items())
        table.add_row(key, "unknown" if item is None else str(item))
    console.print(table)
    emit_json({**value, "verdict": entry.verdict, "role": entry.role or None})


def verify(
    target: Target,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Read and hash every file, or compare sizes")
    ] = True,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Find every file that is missing, truncated, changed, a Git LFS pointer, or could run code."""
    directory = places.resolve(target, artifacts_dir)
    manifest = artifact.read_manifest(directory)
    found = places.problems(directory, manifest, full=full)
    emit_json(
        {
            "artifact": str(directory),
            "files": len(manifest.files),
            "full": full,
            "ok": not found,
            "problems": [dataclasses.asdict(problem) for problem in found],
        }
    )
    if found:
        for problem in found:
            console.print(f"{problem.kind}: {directory / problem.file} {problem.text}", soft_wrap=True)
        raise artifact.ArtifactError(
            f"{directory} is not as it was made: {len(found)} of {len(manifest.files)} files",
            mend="Restore them (quantize pull), or quantize again",
        )
    console.print(
        f"{directory}: {len(manifest.files)} files are {'unchanged' if full else 'there with their sizes'}",
        soft_wrap=True,
    )


def diff(
    a: Annotated[str, typer.Argument(help="Artifact directory, NAME/VERSION, or NAME")],
    b: Annotated[str, typer.Argument(help="The other one")],
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same in both")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Compare two artifacts: parameters, origin, measured figures and sizes, side by side."""
    first, second = (places.resolve(target, artifacts_dir) for target in (a, b))
    rows = compare(
        artifact.read_manifest(first),
        artifact.read_manifest(second),
        artifact.read_report(first),
        artifact.read_report(second),
    )
    shown = [row for row in rows if everything or not row.same]
    table = Table("what", "", first.name, second.name, "change")
    for row in shown:
        table.add_row(row.section, row.name, _cell(row.a), _cell(row.b), _change(row))
    console.print(table if shown else "No difference")
    emit_json(
        {
            "a": str(first),
            "b": str(second),
            "differences": [dataclasses.asdict(row) for row in rows if not row.same],
        }
    )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _change(row: Row) -> str:
    return "" if row.change is None or row.same else f"{row.change:+.1%}"


def gc(
    keep: Annotated[int, typer.Option(help="How many of the newest versions of each name to keep")],
    name: Annotated[str | None, typer.Argument(help="Artifact name; default: all")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
    run_dir: Annotated[Path, typer.Option(help="Where the running server's state is kept")] = RUN_DIR,
) -> None:
    """Remove old versions; never the current or previous one, nor the one a server runs on."""
    removed = collection.collect(artifacts_dir, run_dir, keep=keep, name=name, dry_run=dry_run)
    for directory in (*removed.versions, *removed.unfinished):
        console.print(f"{'would remove' if dry_run else 'removed'} {directory}", soft_wrap=True)
    verb = "would be freed" if dry_run else "freed"
    console.print(f"{len(removed.versions)} versions, {decimal_size(removed.freed_bytes)} {verb}")
    emit_json(
        {
            "removed": [str(path) for path in removed.versions],
            "unfinished": [str(path) for path in removed.unfinished],
            "freed_bytes": removed.freed_bytes,
            "dry_run": dry_run,
        }
    )


def pull(
    reference: Annotated[str, typer.Argument(help="OWNER/NAME[@REVISION] on the hub")],
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Fetch an artifact from the hub; every file is compared with its hash before it exists here."""
    pulled = hub.pull(reference, artifacts_dir)
    _report(
        f"{pulled.directory}: {'fetched' if pulled.made else 'unchanged'}, commit {pulled.commit[:12]}",
        artifact=str(pulled.directory),
        version=pulled.manifest.version,
        commit=pulled.commit,
        status="made" if pulled.made else "unchanged",
    )


def push(
    target: Target,
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made if needed")],
    private: Annotated[bool, typer.Option("--private/--public", help="Of a repository that is made")] = True,
    message: Annotated[str | None, typer.Option(help="Commit message; default: name and version")] = None,
    force: Annotated[bool, typer.Option("--force", help="Though the gate has not said ACCEPT")] = False,
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Upload an accepted artifact to the hub."""
    directory = places.resolve(target, artifacts_dir)
    url = hub.push(directory, repository, private=private, force=force, message=message)
    line = f"{directory}: uploaded, {url}"
    _report(line, artifact=str(directory), repository=repository, commit_url=url)


def export(
    target: Target,
    destination: Annotated[
        Path, typer.Argument(help="A new folder, or a file ending in .tar, .tar.gz or .tar.xz")
    ],
    artifacts_dir: Artifacts = ARTIFACTS_DIR,
) -> None:
    """Copy an artifact to a folder or a tar file; tar -xf FILE -C artifacts puts it in place elsewhere."""
    directory = places.resolve(target, artifacts_dir)
    made = export_artifact(directory, destination)
    _report(f"{directory} → {made}", artifact=str(directory), destination=str(made.resolve()))


def convert(
    source: Annotated[Path, typer.Argument(help="Checkpoint directory with pickle weights (*.bin, *.pt)")],
    allow_pickle: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A pickle you trust; repeat for each")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where to; default: models/NAME")] = None,
) -> None:
    """Convert pickle weights, which can run code and are refused elsewhere, to safetensors."""
    destination = output or MODELS_DIR / model_name(source)
    made = convert_pickles(source, destination, list(allow_pickle or []))
    _report(
        f"{made.directory}: {made.elements / 1e6:,.0f} M parameters",
        directory=str(made.directory),
        parameters=made.elements,
        weight_bytes=made.weight_bytes,
    )
