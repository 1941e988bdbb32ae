"""Quantize a checkpoint into artifacts/NAME/VERSION: check, lock, work in a child, manifest last."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from core.console import console, progress
from core.files import exclusive_lock, remove_tree, staged_directory
from quantize.artifact import (
    ArtifactError,
    Calibration,
    CalibrationPart,
    Manifest,
    Parent,
    check_files,
    file_records,
    is_artifact,
    now,
    read_manifest,
    write_manifest,
)
from quantize.calibration.findings import Warned, judge
from quantize.calibration.sources import Text, load
from quantize.config import CalibrationOptions, RunOptions
from quantize.key import content_key, parameters, version_name
from quantize.methods import Method, Options
from quantize.models.checks import Checkpoint, check_checkpoint
from quantize.models.source import content_hash, read_source
from quantize.preflight import check_resources, check_shapes, estimate
from quantize.worker.job import Job
from quantize.worker.supervise import Event, run_job

_TOOLS = ("gptqmodel", "torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Outcome:
    """A finished run; `made` is False when the artifact was there already."""

    directory: Path
    manifest: Manifest
    made: bool


@dataclass(frozen=True)
class _Plan:
    """A run that has been checked and may begin."""

    checkpoint: Checkpoint
    method: Method
    options: Options
    calibration: CalibrationOptions
    text: Text
    base: Parent
    key: str
    directory: Path


def run(method: Method, options: Options, calibration: CalibrationOptions, where: RunOptions) -> Outcome:
    """Make the artifact, or find it made.

    Raises:
        QuantserveError: the model, the text, the options or the machine do not allow it.
    """
    plan = _plan(method, options, calibration, where)
    home = plan.directory.parent
    with exclusive_lock(home / ".quantize.lock", f"quantizing {home.name}"):
        found = _existing(plan.directory)
        if found is not None:
            return Outcome(plan.directory, found, made=False)
        if not where.force:
            check_resources(estimate(plan.checkpoint, calibration), plan.directory)
        return Outcome(plan.directory, _make(plan, where.run_dir / "quantize.log"), made=True)


def _plan(method: Method, options: Options, calibration: CalibrationOptions, where: RunOptions) -> _Plan:
    checkpoint = check_checkpoint(where.model)
    check_shapes(checkpoint, options)
    text = load(calibration, checkpoint.directory, where.run_dir)
    sha256 = content_hash(checkpoint.directory, where.run_dir)
    key = content_key(method, parameters(options, calibration), base_sha256=sha256, text_sha256=text.sha256)
    name = where.name or checkpoint.directory.resolve().name
    return _Plan(
        checkpoint=checkpoint,
        method=method,
        options=options,
        calibration=calibration,
        text=text,
        base=Parent(id=read_source(checkpoint.directory).get("id") or name, sha256=sha256),
        key=key,
        directory=where.artifacts_dir / name / version_name(method, options, key),
    )


def _existing(directory: Path) -> Manifest | None:
    """Return the manifest of a whole artifact; one that is not whole is cleared away and made again."""
    if not is_artifact(directory):
        remove_tree(directory)
        return None
    try:
        manifest = read_manifest(directory)
        check_files(directory, manifest, full=False)
    except ArtifactError as error:
        console.print(f"{error.problem}: making it again", markup=False, soft_wrap=True)
        remove_tree(directory)
        return None
    return manifest


def _make(plan: _Plan, log: Path) -> Manifest:
    """Quantize in a child process, staged beside the final place."""
    started = perf_counter()
    with staged_directory(plan.directory) as staging:
        job = Job(
            model=str(plan.checkpoint.directory.resolve()),
            output=str(staging.resolve()),
            method=plan.method.name,
            options=asdict(plan.options),
            groups=plan.text.groups,
            sequences=plan.calibration.sequences,
            sequence_tokens=plan.calibration.sequence_tokens,
            seed=plan.calibration.seed,
        )
        with _shown_progress(plan) as on_event:
            result, peak_memory_bytes = run_job(job.to_dict(), log, on_event)
        template = staging / "chat_template.jinja"
        for path in staging.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        manifest = Manifest(
            name=plan.directory.parent.name,
            version=plan.directory.name,
            key=plan.key,
            created=now(),
            method=plan.method.name,
            bits=plan.options.bits,
            parameters=parameters(plan.options, plan.calibration),
            base=plan.base,
            calibration=Calibration(
                source=plan.text.source,
                sha256=plan.text.sha256,
                tokens=result["tokens"],
                sequences=result["sequences"],
                languages=result["languages"],
                parts=[CalibrationPart(**asdict(part)) for part in plan.text.parts],
                asked_languages=plan.calibration.languages,
                warnings=[warned.name for warned in _judge(plan, result)],
            ),
            chat_template_sha256=(
                hashlib.sha256(template.read_bytes()).hexdigest() if template.is_file() else None
            ),
            tools={tool: importlib.metadata.version(tool) for tool in _TOOLS},
            seconds=round(perf_counter() - started, 1),
            peak_memory_bytes=peak_memory_bytes,
            files=file_records(staging),
        )
        write_manifest(staging, manifest)
    return manifest


@contextmanager
def _shown_progress(plan: _Plan) -> Iterator[Any]:
    """Yield a function that shows the worker's events: one bar by layer, and what is amiss with the text."""
    with progress() as bar:
        task = bar.add_task("Starting", total=None)

        def on_event(event: Event) -> None:
            if event["event"] == "stage":
                bar.update(task, description=event["text"])
            elif event["event"] == "layer":
                bar.update(task, completed=event["done"], total=event["of"])
            elif event["event"] == "calibration":
                for warned in _judge(plan, event):
                    console.print(f"[yellow]warning[/] {warned.name}: {warned.text}", soft_wrap=True)

        yield on_event


def _judge(plan: _Plan, facts: Event) -> list[Warned]:
    return judge(
        facts,
        sequences=plan.calibration.sequences,
        readable=plan.text.readable,
        asked=plan.text.asked,
        weights={group["source"]: group["weight"] for group in plan.text.groups},
    )
