"""`quantize run`: make a quantized artifact, or say that it is there already."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from core.console import console, emit_json
from core.errors import UsageError
from quantize.config import CalibrationOptions, RunOptions
from quantize.methods import METHODS, find, make_options
from quantize.run import Outcome
from quantize.run import run as run_quantization

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
    damping: Annotated[float | None, typer.Option(help="gptq: share of the mean diagonal added")] = None,
    mse: Annotated[float | None, typer.Option(help="gptq: exponent of the scale search, 0 is off")] = None,
    act_group_aware: Annotated[
        bool | None, typer.Option(help="gptq: important columns first, groups kept")
    ] = None,
    desc_act: Annotated[bool | None, typer.Option(help="gptq: refused, the engine cannot load it")] = None,
    true_sequential: Annotated[
        bool | None, typer.Option(help="gptq: each part of a layer sees the error of those before it")
    ] = None,
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
    force: Annotated[bool, typer.Option("--force", help="Try though memory or disk look too small")] = False,
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
        "damping": damping,
        "mse": mse,
        "act_group_aware": act_group_aware,
        "desc_act": desc_act,
        "true_sequential": true_sequential,
    }
    outcome = run_quantization(
        chosen,
        make_options(chosen, given),
        CalibrationOptions(
            tuple(calibration or _CALIBRATION.sources), languages, sequences, sequence_tokens, seed
        ),
        RunOptions(model, artifacts_dir, run_dir, name, force),
    )
    _say(outcome, perf_counter() - started)


def _say(outcome: Outcome, seconds: float) -> None:
    manifest = outcome.manifest
    peak_bytes = manifest.peak_memory_bytes or 0
    console.print(
        f"{outcome.directory}: made in {seconds:.0f} s with {peak_bytes / 1e9:.1f} GB of memory, "
        f"{manifest.size_bytes / 1e6:.0f} MB on disk"
        if outcome.made
        else f"{outcome.directory}: unchanged ({seconds:.1f} s)",
        markup=False,
        soft_wrap=True,
    )
    emit_json(
        {
            "artifact": str(outcome.directory),
            "version": manifest.version,
            "method": manifest.method,
            "bits": manifest.bits,
            "seconds": round(seconds, 2),
            "peak_memory_bytes": manifest.peak_memory_bytes,
            "size_bytes": manifest.size_bytes,
            "status": "made" if outcome.made else "unchanged",
        }
    )
