"""Import a quantized checkpoint: check, recognise, link, hash, manifest last."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.console import console
from core.errors import UsageError
from core.files import exclusive_lock, remove_tree, staged_directory
from quantize.artifact import Manifest, file_records, is_artifact, now, read_manifest, write_manifest
from quantize.config import CalibrationOptions, RunOptions
from quantize.importing.recognise import Imported, recognise, refuse_imported
from quantize.methods import find, make_options
from quantize.methods.targets import default_target
from quantize.models.checks import Checkpoint, check_checkpoint
from quantize.models.source import content_hash, write_source
from quantize.run import Outcome
from quantize.run import run as run_quantization
from quantize.worker.supervise import run_logged

_WANTED = (".safetensors", ".json", ".jinja", ".model", ".txt")


@dataclass(frozen=True)
class ImportOptions:
    """What to import and how.

    name: the artifact's; None takes the directory's.
    requantize: dequantize what the engine refuses and quantize it again by GPTQ with static order.
    """

    directory: Path
    name: str | None = None
    requantize: bool = False


def import_checkpoint(options: ImportOptions, where: RunOptions) -> Outcome:
    """Make the artifact, or find it made.

    Raises:
        QuantserveError: the checkpoint is unusable, or the engine on the target would not load it.
    """
    checkpoint = check_checkpoint(options.directory)
    found = recognise(checkpoint.config.get("quantization_config"), str(options.directory))
    if options.requantize:
        return _requantize(checkpoint, found, options, where)
    refuse_imported(found, where.target or default_target(), str(options.directory))
    sha256 = content_hash(checkpoint.directory, where.run_dir)
    name = options.name or checkpoint.directory.resolve().name
    directory = where.artifacts_dir / name / f"{found.method}-imported-{sha256[:8]}"
    with exclusive_lock(directory.parent / ".quantize.lock", f"importing {name}"):
        if is_artifact(directory):
            return Outcome(directory, read_manifest(directory), made=False)
        remove_tree(directory)
        with staged_directory(directory) as staging:
            _link(checkpoint.directory, staging)
            manifest = _manifest(name, directory.name, sha256, found, staging)
            write_manifest(staging, manifest)
    return Outcome(directory, manifest, made=True)


def _link(source: Path, staging: Path) -> None:
    """Hard-link the weights where the file system allows it, and copy what is small."""
    for path in sorted(source.iterdir()):
        if not path.is_file() or path.suffix not in _WANTED or path.name == "source.json":
            continue
        target = staging / path.name
        if path.suffix == ".safetensors":
            try:
                os.link(path.resolve(), target)
                continue
            except OSError:
                console.print(f"{path.name}: copied, since links do not reach there", markup=False)
        shutil.copyfile(path, target)


def _manifest(name: str, version: str, sha256: str, found: Imported, staging: Path) -> Manifest:
    template = staging / "chat_template.jinja"
    return Manifest(
        name=name,
        version=version,
        key=sha256,
        created=now(),
        method=found.method,
        bits=found.bits,
        parameters=found.parameters,
        base=None,
        chat_template_sha256=hashlib.sha256(template.read_bytes()).hexdigest()
        if template.is_file()
        else None,
        files=file_records(staging),
    )


def _requantize(
    checkpoint: Checkpoint, found: Imported, options: ImportOptions, where: RunOptions
) -> Outcome:
    """Dequantize into the run folder, then quantize like any base model."""
    if found.method not in ("gptq", "awq"):
        raise UsageError(
            f"{checkpoint.directory} is {found.method}; only gptq and awq can be converted",
            mend="Quantize its 16-bit base: python -m quantize run --model BASE",
        )
    sha256 = content_hash(checkpoint.directory, where.run_dir)
    name = options.name or checkpoint.directory.resolve().name
    plain = where.run_dir / "dequantized" / f"{name}-{sha256[:8]}"
    if not plain.is_dir():
        console.print(f"Dequantizing {checkpoint.directory}", markup=False, soft_wrap=True)
        plain.parent.mkdir(parents=True, exist_ok=True)
        run_logged(
            ["-m", "quantize.importing", str(checkpoint.directory.resolve()), str(plain.resolve())],
            where.run_dir / "quantize.log",
            "dequantizing",
        )
        write_source(plain, id=str(checkpoint.directory), dequantized_from=sha256)
    method = find("gptq")
    given = {"group_size": found.group_size} if found.group_size and found.group_size > 0 else {}
    outcome = run_quantization(
        method,
        make_options(method, given, where.target or default_target()),
        CalibrationOptions(),
        RunOptions(plain, where.artifacts_dir, where.run_dir, name, where.force, None, where.target),
    )
    remove_tree(plain)
    return outcome
