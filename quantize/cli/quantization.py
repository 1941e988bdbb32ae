"""`quantize model | run | import`: a base checkpoint made ready, and artifacts made of one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from quantserve.core.checkpoints import hub_id
from quantserve.core.console import console, emit_json
from quantserve.core.sizes import decimal_size
from quantserve.quantize.artifact import Manifest, Proof
from quantserve.quantize.cli.options import derived, union
from quantserve.quantize.config import DEFAULT_MODEL, MODELS_DIR, RUN_DIR, CalibrationOptions, QuantizeOptions
from quantserve.quantize.methods.registry import (
    METHOD_FOR,
    METHODS,
    make_options,
    method_named,
    settled_target,
)
from quantserve.quantize.models.download import fetch
from quantserve.quantize.models.source import content_hash, read_source
from quantserve.quantize.run import MadeArtifact
from quantserve.quantize.run import run as run_quantization

MethodOptions: Any = union("MethodOptions", {name: method.options for name, method in METHODS.items()})
_METHODS_HELP = (
    "; ".join(f"{method.name}: {method.title}" for method in METHODS.values())
    + f". By default {' and '.join(f'{name} for {target}' for target, name in METHOD_FOR.items())}"
)


def model(
    model: Annotated[str, typer.Argument(help="Hub id or directory; default: the bundled model")] = "",
    models_dir: Annotated[Path, typer.Option(help="Where checkpoints are kept")] = MODELS_DIR,
    run_dir: Annotated[Path, typer.Option(help="Where logs and state are kept")] = RUN_DIR,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub")] = None,
) -> None:
    """Unpack, download or check a base model and print its directory."""
    started = perf_counter()
    checkpoint = fetch(model or DEFAULT_MODEL, models_dir, run_dir, revision=revision)
    sha256 = content_hash(checkpoint.directory, run_dir)
    seconds = perf_counter() - started
    console.print(
        f"{checkpoint.directory}: {checkpoint.elements / 1e6:,.0f} M parameters, "
        f"{decimal_size(checkpoint.weight_bytes)} of weights, {seconds:.1f} s",
        soft_wrap=True,
    )
    emit_json(
        {
            "directory": str(checkpoint.directory),
            "id": read_source(checkpoint.directory).get(
                "id", hub_id(checkpoint.directory) or str(checkpoint.directory)
            ),
            "sha256": sha256,
            "parameters": checkpoint.elements,
            "weight_bytes": checkpoint.weight_bytes,
            "seconds": round(seconds, 2),
        }
    )


@derived
def run(
    *,
    where: QuantizeOptions,
    method: Annotated[str | None, typer.Option(help=_METHODS_HELP)] = None,
    given: MethodOptions,
    calibration: CalibrationOptions,
) -> None:
    """Quantize a base model; the same inputs give the same version, which is not made twice."""
    started = perf_counter()
    target = settled_target(where.target)
    chosen = method_named(method, target)
    options = make_options(chosen, vars(given), target)
    outcome = run_quantization(chosen, options, calibration, dataclasses.replace(where, target=target))
    report_made(outcome, perf_counter() - started)


@derived
def import_(
    directory: Annotated[Path, typer.Argument(help="Checkpoint by AutoGPTQ, AutoAWQ or compressed-tensors")],
    where: Annotated[QuantizeOptions, ("name", "target", "artifacts_dir", "run_dir", "force")],
    requantize: Annotated[
        bool, typer.Option("--requantize", help="Dequantize, and quantize again by GPTQ")
    ] = False,
) -> None:
    """Make an artifact of an existing quantized checkpoint, without quantizing it again."""
    started = perf_counter()
    where = dataclasses.replace(where, target=settled_target(where.target))
    from quantserve.quantize.lifecycle.importing import ImportOptions, import_checkpoint

    outcome = import_checkpoint(ImportOptions(directory, where.name, requantize), where)
    report_made(outcome, perf_counter() - started)


def report_made(outcome: MadeArtifact, seconds: float) -> None:
    """Print what was made, or was there already, for people and for programs."""
    manifest = outcome.manifest
    peak_bytes = manifest.peak_memory_bytes
    memory = f" with {decimal_size(peak_bytes)} of memory" if peak_bytes else ""
    console.print(
        f"{outcome.directory}: made in {seconds:.0f} s{memory}, {decimal_size(manifest.size_bytes)} on disk"
        if outcome.made
        else f"{outcome.directory}: unchanged ({seconds:.1f} s)",
        soft_wrap=True,
    )
    if manifest.quantized is not None:
        console.print(matrices_line(manifest), soft_wrap=True)
    if manifest.proof is not None:
        console.print(proof_line(manifest.proof), soft_wrap=True)
    emit_json(
        {
            "artifact": str(outcome.directory),
            "version": manifest.version,
            "method": manifest.method,
            "bits": manifest.bits,
            "seconds": round(seconds, 2),
            "peak_memory_bytes": manifest.peak_memory_bytes,
            "size_bytes": manifest.size_bytes,
            "quantized": manifest.quantized,
            "unquantized": manifest.unquantized,
            "unseen": manifest.unseen,
            "rejected": manifest.rejected,
            "proof": None if manifest.proof is None else manifest.proof.model_dump(),
            "status": "made" if outcome.made else "unchanged",
        }
    )


def matrices_line(manifest: Manifest) -> str:
    """Say how many matrices were quantized, and what the others are."""
    quantized, others = manifest.quantized or 0, manifest.unquantized
    line = f"{quantized} of {quantized + len(others)} matrices quantized"
    if others:
        counts = Counter(others.values())
        line += "; in 16 bits: " + ", ".join(f"{count} {why}" for why, count in counts.most_common())
    if manifest.unseen:
        line += f"; {len(manifest.unseen)} rounded plainly, since the calibration text did not reach them"
    return line


def proof_line(proof: Proof) -> str:
    """Say what the proof showed."""
    folded = "" if proof.folded_error is None else f", {proof.folded_error:.1g} before rounding"
    return (
        f"Proved on {proof.tokens} tokens in float32: relative logit error {proof.logit_error:.4f} "
        f"(plain rounding {proof.plain_logit_error:.4f}){folded}"
    )
