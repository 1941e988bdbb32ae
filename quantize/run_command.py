"""`quantize run`: make a quantized artifact, or say that it is there already."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json
from quantserve.core.errors import UsageError
from quantserve.core.sizes import decimal_size
from quantserve.quantize.artifact import Manifest, Proof
from quantserve.quantize.config import CalibrationOptions, RunOptions
from quantserve.quantize.methods import METHODS, find, make_options
from quantserve.quantize.methods.targets import check_target, default_target
from quantserve.quantize.run import Outcome
from quantserve.quantize.run import run as run_quantization

_RUN = RunOptions()
_CALIBRATION = CalibrationOptions()
_METHODS_HELP = "; ".join(f"{method.name}: {method.title}" for method in METHODS.values())


def run(
    model: Annotated[Path, typer.Option(help="Base checkpoint directory")] = _RUN.model,
    method: Annotated[str, typer.Option(help=_METHODS_HELP)] = "gptq",
    name: Annotated[str | None, typer.Option(help="Artifact name; default: the model's")] = None,
    bits: Annotated[int | None, typer.Option(help="Width of a weight")] = None,
    group_size: Annotated[int | None, typer.Option(help="Weights that share a scale")] = None,
    symmetric: Annotated[
        bool | None, typer.Option("--symmetric/--asymmetric", help="Without or with zero points")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="How 4-bit weights are stored: gptq, awq, packed; default: auto")
    ] = None,
    damping: Annotated[
        float | None, typer.Option(help="gptq, int8: share of the mean diagonal added")
    ] = None,
    mse: Annotated[float | None, typer.Option(help="Exponent of the search for scales, 0 is off")] = None,
    act_group_aware: Annotated[
        bool | None, typer.Option(help="gptq: important columns first, groups kept")
    ] = None,
    desc_act: Annotated[bool | None, typer.Option(help="gptq: refused, the engine cannot load it")] = None,
    scale_channels: Annotated[
        bool | None, typer.Option(help="gptq: scale input channels by AWQ's search first")
    ] = None,
    feedback: Annotated[bool | None, typer.Option(help="int8: round with GPTQ's error feedback")] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="int8: SmoothQuant's strength, 0 to 1; 0 needs no calibration")
    ] = None,
    double_quant: Annotated[
        bool | None, typer.Option(help="bitsandbytes: quantize the scales too (4 bits)")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN[=16|8]",
            help="Modules that keep 16 (or 8) bits, such as down_proj or 'layers.0.*=8'; repeat for more. "
            "lm_head and embeddings always keep 16",
        ),
    ] = None,
    driver: Annotated[
        str | None, typer.Option(help="gptq, awq: layers (ours), or gptqmodel for other architectures")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="LoRA adapter directory, merged into the model first")
    ] = _RUN.adapter,
    target: Annotated[
        str | None, typer.Option(help="cpu or cuda, where it will serve; default: what this machine has")
    ] = _RUN.target,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE[:WEIGHT]",
            help="corpus, corpus/en, corpus/ko, pydoc, a text, JSONL or Parquet file or folder, c4, "
            "wikitext, klue, or a hub data set; ?column=, ?split= and ?config= choose in it; repeat to mix. "
            f"Default: {', '.join(_CALIBRATION.sources)}",
        ),
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Language shares, such as ko=0.5,en=0.5; default: what the model reads")
    ] = _CALIBRATION.languages,
    sequences: Annotated[int, typer.Option(help="Calibration sequences")] = _CALIBRATION.sequences,
    sequence_tokens: Annotated[int, typer.Option(help="Tokens in each")] = _CALIBRATION.sequence_tokens,
    seed: Annotated[int, typer.Option(help="Draws the sequences")] = _CALIBRATION.seed,
    artifacts_dir: Annotated[Path, typer.Option(help="Where artifacts are kept")] = _RUN.artifacts_dir,
    run_dir: Annotated[Path, typer.Option(help="Where logs and state are kept")] = _RUN.run_dir,
    force: Annotated[
        bool, typer.Option("--force", help="Try though memory or disk look too small, or the engine refuses")
    ] = False,
) -> None:
    """Quantize a base model; the same inputs give the same version, which is not made twice."""
    started = perf_counter()
    if sequences < 1 or sequence_tokens < 16:
        raise UsageError("Calibration needs at least 1 sequence of 16 tokens", mend="Give larger numbers")
    chosen = find(method)
    given = {
        "bits": bits,
        "group_size": group_size,
        "symmetric": symmetric,
        "layout": layout,
        "damping": damping,
        "mse": mse,
        "act_group_aware": act_group_aware,
        "desc_act": desc_act,
        "scale_channels": scale_channels,
        "feedback": feedback,
        "smoothing": smoothing,
        "double_quant": double_quant,
        "keep": tuple(keep) if keep else None,
        "driver": driver,
    }
    where = target or default_target()
    check_target(where)
    outcome = run_quantization(
        chosen,
        make_options(chosen, given, where),
        CalibrationOptions(
            tuple(calibration or _CALIBRATION.sources), languages, sequences, sequence_tokens, seed
        ),
        RunOptions(model, artifacts_dir, run_dir, name, force, adapter, where),
    )
    say(outcome, perf_counter() - started)


def say(outcome: Outcome, seconds: float) -> None:
    """Print what was made, or found made, for people and for programs."""
    manifest = outcome.manifest
    peak_bytes = manifest.peak_memory_bytes
    memory = f" with {decimal_size(peak_bytes)} of memory" if peak_bytes else ""
    console.print(
        f"{outcome.directory}: made in {seconds:.0f} s{memory}, {decimal_size(manifest.size_bytes)} on disk"
        if outcome.made
        else f"{outcome.directory}: unchanged ({seconds:.1f} s)",
        markup=False,
        soft_wrap=True,
    )
    if manifest.quantized is not None:
        console.print(matrices(manifest), markup=False, soft_wrap=True)
    if manifest.proof is not None:
        console.print(proved(manifest.proof), markup=False, soft_wrap=True)
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
            "kept": manifest.kept,
            "unseen": manifest.unseen,
            "rejected": manifest.rejected,
            "proof": None if manifest.proof is None else manifest.proof.model_dump(),
            "status": "made" if outcome.made else "unchanged",
        }
    )


def matrices(manifest: Manifest) -> str:
    """Say how many matrices were quantized, and what the others are."""
    quantized, kept = manifest.quantized or 0, manifest.kept
    line = f"{quantized} of {quantized + len(kept)} matrices quantized"
    if kept:
        counts = Counter(kept.values())
        line += "; in 16 bits: " + ", ".join(f"{count} {why}" for why, count in counts.most_common())
    if manifest.unseen:
        line += f"; {len(manifest.unseen)} rounded plainly, since the calibration text did not reach them"
    return line


def proved(proof: Proof) -> str:
    """Say what the proof showed."""
    folded = "" if proof.folded_error is None else f", {proof.folded_error:.1g} before rounding"
    return (
        f"Proved on {proof.tokens} tokens in float32: relative logit error {proof.logit_error:.4f} "
        f"(plain rounding {proof.plain_logit_error:.4f}){folded}"
    )
