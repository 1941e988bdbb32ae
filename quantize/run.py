"""Quantize a checkpoint into artifacts/NAME/VERSION: check, lock, work in a child, manifest last.

The version's name ends in the content key: the same model, method, options, text and library always give
the same version. A killed run leaves its finished stages in a work folder beside the final place, and the
next goes on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from quantserve.core.checkpoints import artifact_name, model_id
from quantserve.core.console import console, progress, styled
from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock, fsync_directory, remove_tree
from quantserve.quantize.artifact import (
    ArtifactError,
    CalibrationRecord,
    Manifest,
    Parent,
    Proof,
    check_files,
    file_records,
    is_artifact,
    now,
    read_manifest,
    template_sha256,
    write_manifest,
)
from quantserve.quantize.calibration.packing import TextWarning, judge_text
from quantserve.quantize.calibration.sources import CalibrationText, load_text
from quantserve.quantize.config import BitsAndBytesOptions, CalibrationOptions, QuantizeOptions
from quantserve.quantize.methods.job import (
    CHECKPOINT,
    QuantizationJob,
    finished_result,
    remove_leftovers,
    tidy_work_folder,
    work_folder,
)
from quantserve.quantize.methods.preflight import (
    check_shapes,
    estimate,
    fit_engine,
    preflight,
    refuse_quantized,
)
from quantserve.quantize.methods.registry import (
    GPTQMODEL,
    Method,
    Options,
    bits_of,
    by_library,
    default_target,
    group_size_of,
    needs_text,
)
from quantserve.quantize.models.checks import Checkpoint, check_checkpoint, require_found_by_transformers
from quantserve.quantize.models.finite import beyond_float16
from quantserve.quantize.models.served import refuse_unserved
from quantserve.quantize.models.source import check_adapter, content_hash, read_source
from quantserve.quantize.models.structure import Structure, structure_of
from quantserve.quantize.models.tokenizer import check_tokenizer
from quantserve.quantize.worker import Event, run_job

_VERSION_KEY_LENGTH = 8


@dataclass(frozen=True)
class MadeArtifact:
    """A finished run; `made` is False when the artifact was there already."""

    directory: Path
    manifest: Manifest
    made: bool


@dataclass(frozen=True)
class _Plan:
    """A run that has been checked and may begin; `text` is None for a method that does not calibrate.

    wide: the base has values that float16 cannot hold.
    """

    checkpoint: Checkpoint
    structure: Structure
    method: Method
    options: Options
    calibration: CalibrationOptions
    text: CalibrationText | None
    base: Parent
    adapter: Parent | None
    adapter_directory: Path | None
    key: str
    directory: Path
    wide: bool


def run(
    method: Method, options: Options, calibration: CalibrationOptions, where: QuantizeOptions
) -> MadeArtifact:
    """Make the artifact, or find it made.

    Raises:
        QuantserveError: the model, the text, the options or the machine do not allow it.
    """
    plan = _plan(method, options, calibration, where)
    home = plan.directory.parent
    with exclusive_lock(home / ".quantize.lock", f"quantizing {home.name}"):
        found = _existing(plan.directory)
        if found is not None:
            return MadeArtifact(plan.directory, found, made=False)
        if not where.force and where.target in (None, default_target()):
            refuse_unserved(where.model, where.run_dir)
        needs = estimate(plan.checkpoint, plan.structure, options, calibration)
        preflight(needs, plan.directory, device=default_target(), force=where.force)
        work = work_folder(plan.directory)
        remove_leftovers(home, work)
        try:
            manifest = _make(plan, work, where.run_dir / "quantize.log")
        except BaseException:
            tidy_work_folder(work)
            raise
        _publish(work, plan.directory)
    return MadeArtifact(plan.directory, manifest, made=True)


def _plan(method: Method, options: Options, calibration: CalibrationOptions, where: QuantizeOptions) -> _Plan:
    checkpoint = check_checkpoint(where.model)
    refuse_quantized(checkpoint)
    check_tokenizer(checkpoint.directory)
    structure = structure_of(checkpoint, where.run_dir)
    options = fit_engine(structure, options)
    check_shapes(structure, options)
    adapter = check_adapter(where.adapter) if where.adapter is not None else None
    if adapter is not None and adapter.base and Path(adapter.base).name != where.model.resolve().name:
        console.print(
            f"The adapter says that it was trained on {adapter.base}; it is merged into {where.model}",
            soft_wrap=True,
        )
    if adapter is not None or needs_text(options):
        require_found_by_transformers(checkpoint)
    text = load_text(calibration, checkpoint.directory, where.run_dir) if needs_text(options) else None
    files = [*checkpoint.weight_files, *([adapter.weights] if adapter is not None else [])]
    wide = beyond_float16(files, where.run_dir)
    if wide and by_library(options):
        raise UsageError(
            f"{wide[0]} has values beyond float16, the type in which gptqmodel writes",
            mend="Leave --driver gptqmodel out: our own pass stores such a model in bfloat16",
        )
    base_sha256 = content_hash(checkpoint.directory, where.run_dir)
    adapter_parent = adapter.parent(where.run_dir) if adapter is not None else None
    key = content_key(
        method,
        parameters(options, calibration if text else None),
        base_sha256=base_sha256,
        text_sha256=text.sha256 if text else None,
        adapter_sha256=adapter_parent.sha256 if adapter_parent else None,
    )
    name = artifact_name(where.name, checkpoint.directory)
    return _Plan(
        checkpoint=checkpoint,
        structure=structure,
        method=method,
        options=options,
        calibration=calibration,
        text=text,
        base=Parent(
            id=str(read_source(checkpoint.directory).get("id") or model_id(checkpoint.directory)),
            sha256=base_sha256,
        ),
        adapter=adapter_parent,
        adapter_directory=where.adapter,
        key=key,
        directory=where.artifacts_dir / name / version_name(method, options, key),
        wide=bool(wide),
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
        console.print(f"{error.problem}: making it again", soft_wrap=True)
        remove_tree(directory)
        return None
    return manifest


def _make(plan: _Plan, work: Path, log: Path) -> Manifest:
    """Finish what is left of the stages in the work folder, the manifest last."""
    started = perf_counter()
    result = finished_result(work)
    if result is None:
        result = _work(plan, work, log)
    finished = work / CHECKPOINT
    for path in finished.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    manifest = Manifest(
        name=plan.directory.parent.name,
        version=plan.directory.name,
        key=plan.key,
        created=now(),
        method=plan.method.name,
        bits=bits_of(plan.options),
        parameters=parameters(plan.options, plan.calibration if plan.text else None),
        base=plan.base,
        adapter=plan.adapter,
        calibration=_calibration(plan, result),
        chat_template_sha256=template_sha256(finished),
        tools={
            tool: importlib.metadata.version(tool)
            for tool in (*plan.method.tools, *([GPTQMODEL] if by_library(plan.options) else []))
        },
        proof=Proof(**result["proof"]) if "proof" in result else None,
        quantized=result.get("quantized"),
        unquantized=result.get("unquantized", {}),
        unseen=result.get("unseen", []),
        rejected=result.get("rejected", []),
        # A run that went on where another stopped took the time of both.
        seconds=round(max(perf_counter() - started, result["seconds"]), 1),
        peak_memory_bytes=result["peak_memory_bytes"],
        files=file_records(finished),
    )
    write_manifest(finished, manifest)
    return manifest


def _work(plan: _Plan, work: Path, log: Path) -> dict[str, Any]:
    """Let the worker finish the checkpoint; return what it says of it."""
    job = QuantizationJob(
        model=str(plan.checkpoint.directory.resolve()),
        work=str(work.resolve()),
        output=str((work / CHECKPOINT).resolve()),
        method=plan.method.name,
        options=asdict(plan.options),
        groups=plan.text.groups if plan.text else [],
        sequences=plan.calibration.sequences,
        sequence_tokens=plan.calibration.sequence_tokens,
        seed=plan.calibration.seed,
        structure=plan.structure.to_dict(),
        adapter=str(plan.adapter_directory.resolve()) if plan.adapter_directory else None,
        wide=plan.wide,
    )
    with _shown_progress(plan) as on_event:
        return run_job(job.to_dict(), log, on_event)


def _publish(work: Path, directory: Path) -> None:
    """Put the finished checkpoint, which is on disk, in its place by one rename; clear the work away."""
    os.replace(work / CHECKPOINT, directory)
    fsync_directory(directory.parent)
    remove_tree(work)


def _calibration(plan: _Plan, result: dict[str, Any]) -> CalibrationRecord | None:
    if plan.text is None:
        return None
    return CalibrationRecord(
        source=plan.text.source,
        sha256=plan.text.sha256,
        tokens=result["tokens"],
        sequences=result["sequences"],
        languages=result["languages"],
        parts=list(plan.text.parts),
        asked_languages=plan.calibration.languages,
        warnings=[warned.name for warned in _judge(plan, plan.text, result)],
    )


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
            elif event["event"] == "rejected":
                console.print(styled(("again with less", "yellow"), f": {event['problem']}"), soft_wrap=True)
            elif event["event"] == "calibration" and plan.text is not None:
                for warned in _judge(plan, plan.text, event):
                    console.print(
                        styled(("warning", "yellow"), f" {warned.name}: {warned.text}"), soft_wrap=True
                    )

        yield on_event


def _judge(plan: _Plan, text: CalibrationText, facts: Event) -> list[TextWarning]:
    return judge_text(
        facts,
        sequences=plan.calibration.sequences,
        readable=text.readable,
        asked=text.asked,
        weights={group["source"]: group["weight"] for group in text.groups},
    )


def parameters(options: Options, calibration: CalibrationOptions | None) -> dict[str, Any]:
    """Return every parameter that shapes the result, as the manifest records them.

    calibration: None for a method that does not calibrate.
    """
    found: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    if isinstance(options, BitsAndBytesOptions):
        found["quantized"] = "while loading"
    if calibration is not None:
        found |= {
            "sequences": calibration.sequences,
            "sequence_tokens": calibration.sequence_tokens,
            "seed": calibration.seed,
        }
    return found


def content_key(
    method: Method,
    parameters: dict[str, Any],
    *,
    base_sha256: str,
    text_sha256: str | None,
    adapter_sha256: str | None = None,
) -> str:
    """Return the hex SHA-256 over everything that shapes the result."""
    library = GPTQMODEL if parameters.get("driver") == GPTQMODEL else method.library
    # As it was called before: what was made then is found made.
    names = {"precision_override": "keep"}
    facts = {
        "method": method.name,
        "revision": method.revision,
        "library": f"{library} {importlib.metadata.version(library)}",
        "parameters": {names.get(name, name): value for name, value in parameters.items()},
        "base": base_sha256,
        "adapter": adapter_sha256,
        "text": text_sha256,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def version_name(method: Method, options: Options, key: str) -> str:
    """Return the version directory's name, such as gptq-w4-g32-1a2b3c4d or int8-w8a8-1a2b3c4d."""
    return f"{method.name}-{_grid(options)}-{key[:_VERSION_KEY_LENGTH]}"


def _grid(options: Options) -> str:
    if isinstance(options, BitsAndBytesOptions):
        return "nf4" if options.bits == 4 else "int8"
    size = group_size_of(options)
    if size is None:
        return "w8a8"
    return f"w{bits_of(options)}-{'channel' if size == -1 else f'g{size}'}"
