"""Import a quantized checkpoint: check, recognise, link, hash, manifest last."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.checkpoints import INDEX, NAMED_IN_CONFIG, WEIGHTS, artifact_name, find_weights, hub_id
from quantserve.core.console import console
from quantserve.core.errors import UsageError
from quantserve.core.files import exclusive_lock, remove_tree, staged_directory, write_json
from quantserve.quantize.artifact import (
    Manifest,
    file_records,
    is_artifact,
    now,
    read_manifest,
    template_sha256,
    write_manifest,
)
from quantserve.quantize.config import CalibrationOptions, QuantizeOptions
from quantserve.quantize.lifecycle.recognise import (
    Imported,
    check_consistency,
    recognise,
    refuse_imported,
    refuse_layout,
)
from quantserve.quantize.methods.registry import METHODS, default_target, make_options
from quantserve.quantize.models.checks import (
    Checkpoint,
    CheckpointError,
    check_checkpoint,
    read_safetensors_header,
)
from quantserve.quantize.models.companions import copy_companions
from quantserve.quantize.models.finite import beyond_float16
from quantserve.quantize.models.source import content_hash, write_source
from quantserve.quantize.models.tokenizer import check_tokenizer
from quantserve.quantize.run import MadeArtifact
from quantserve.quantize.run import run as run_quantization
from quantserve.quantize.worker import run_logged


@dataclass(frozen=True)
class ImportOptions:
    """What to import and how.

    name: the artifact's; None takes the model's.
    requantize: dequantize what the engine refuses and quantize it again by GPTQ with static order.
    """

    directory: Path
    name: str | None = None
    requantize: bool = False


def import_checkpoint(options: ImportOptions, where: QuantizeOptions) -> MadeArtifact:
    """Make the artifact, or find it made.

    Raises:
        QuantserveError: the checkpoint is unusable, or the engine on the target would not load it.
    """
    checkpoint = check_checkpoint(options.directory)
    check_tokenizer(checkpoint.directory)
    found = recognise(checkpoint.quantization, str(options.directory))
    beyond_float16(checkpoint.weight_files, where.run_dir)
    if options.requantize:
        return _requantize(checkpoint, found, options, where)
    refuse_imported(found, where.target or default_target(), str(options.directory))
    check_consistency(checkpoint, found)
    sha256 = content_hash(checkpoint.directory, where.run_dir)
    name = artifact_name(options.name, checkpoint.directory)
    directory = where.artifacts_dir / name / f"{found.method}-imported-{sha256[:8]}"
    with exclusive_lock(directory.parent / ".quantize.lock", f"importing {name}"):
        if is_artifact(directory):
            return MadeArtifact(directory, read_manifest(directory), made=False)
        remove_tree(directory)
        with staged_directory(directory) as staging:
            _link_files(checkpoint, staging)
            manifest = _import_manifest(name, directory.name, sha256, found, staging)
            write_manifest(staging, manifest)
    return MadeArtifact(directory, manifest, made=True)


def _link_files(checkpoint: Checkpoint, staging: Path) -> None:
    """Hard-link the weights where the file system allows it, and copy what goes with them.

    Weights that are not the model's stay behind, and file and index get the names that loaders look for. The
    engine reads config.json alone, so settings that stood in AutoGPTQ's or AutoAWQ's own file go into it.
    """
    weights = find_weights(checkpoint.directory, checkpoint.config, error=CheckpointError)
    alone = len(weights.files) == 1 and weights.index is None
    for path in weights.files:
        target = staging / (WEIGHTS if alone else path.name)
        try:
            os.link(path.resolve(), target)
        except OSError:
            console.print(f"{path.name}: copied, since links do not reach there")
            shutil.copyfile(path, target)
    if weights.index is not None:
        shutil.copyfile(weights.index, staging / INDEX)
    elif not alone:
        weight_map = {name: path.name for path in weights.files for name in read_safetensors_header(path)}
        write_json(staging / INDEX, {"metadata": {}, "weight_map": weight_map})
    copy_companions(checkpoint.directory, staging)
    if checkpoint.settings_in_config and NAMED_IN_CONFIG not in checkpoint.config:
        shutil.copyfile(checkpoint.directory / "config.json", staging / "config.json")
        return
    config = {name: value for name, value in checkpoint.config.items() if name != NAMED_IN_CONFIG}
    if not checkpoint.settings_in_config:
        config["quantization_config"] = checkpoint.quantization
    write_json(staging / "config.json", config, allow_nan=True)


def _import_manifest(name: str, version: str, sha256: str, found: Imported, staging: Path) -> Manifest:
    return Manifest(
        name=name,
        version=version,
        key=sha256,
        created=now(),
        method=found.method,
        bits=found.bits,
        parameters=found.parameters,
        base=None,
        chat_template_sha256=template_sha256(staging),
        files=file_records(staging),
    )


def _requantize(
    checkpoint: Checkpoint, found: Imported, options: ImportOptions, where: QuantizeOptions
) -> MadeArtifact:
    """Dequantize into the run folder, then quantize like any base model."""
    if found.method not in ("gptq", "awq"):
        raise UsageError(
            f"{checkpoint.directory} is {found.method}; only gptq and awq can be converted",
            mend="Quantize its 16-bit base: quantserve quantize run --model BASE",
        )
    refuse_layout(found, str(checkpoint.directory))
    sha256 = content_hash(checkpoint.directory, where.run_dir)
    name = artifact_name(options.name, checkpoint.directory)
    plain = where.run_dir / "dequantized" / f"{name}-{sha256[:8]}"
    if not plain.is_dir():
        console.print(f"Dequantizing {checkpoint.directory}", soft_wrap=True)
        plain.parent.mkdir(parents=True, exist_ok=True)
        run_logged(
            "methods.proof.stored",
            [str(checkpoint.directory.resolve()), str(plain.resolve())],
            where.run_dir / "quantize.log",
            "dequantizing",
        )
        write_source(
            plain, id=hub_id(checkpoint.directory) or str(checkpoint.directory), dequantized_from=sha256
        )
    method = METHODS["gptq"]
    given = {"group_size": found.group_size} if found.group_size and found.group_size > 0 else {}
    outcome = run_quantization(
        method,
        make_options(method, given, where.target or default_target()),
        CalibrationOptions(),
        QuantizeOptions(plain, where.artifacts_dir, where.run_dir, name, where.force, None, where.target),
    )
    remove_tree(plain)
    return outcome
