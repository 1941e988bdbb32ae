"""`quantize import`: a quantized checkpoint made elsewhere becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from quantserve.quantize.config import RunOptions
from quantserve.quantize.importing.run import ImportOptions, import_checkpoint
from quantserve.quantize.methods.targets import check_target, default_target
from quantserve.quantize.run_command import say

_RUN = RunOptions()


def import_(
    directory: Annotated[Path, typer.Argument(help="Checkpoint by AutoGPTQ, AutoAWQ or compressed-tensors")],
    name: Annotated[str | None, typer.Option(help="Artifact name; default: the directory's")] = None,
    requantize: Annotated[
        bool,
        typer.Option("--requantize", help="Dequantize, and quantize again by GPTQ"),
    ] = False,
    target: Annotated[
        str | None, typer.Option(help="cpu or cuda, where it will serve; default: what this machine has")
    ] = _RUN.target,
    artifacts_dir: Annotated[Path, typer.Option(help="Where artifacts are kept")] = _RUN.artifacts_dir,
    run_dir: Annotated[Path, typer.Option(help="Where logs and state are kept")] = _RUN.run_dir,
    force: Annotated[bool, typer.Option("--force", help="Try though memory or disk look too small")] = False,
) -> None:
    """Make an artifact of an existing quantized checkpoint, without quantizing it again."""
    started = perf_counter()
    where = target or default_target()
    check_target(where)
    outcome = import_checkpoint(
        ImportOptions(directory, name, requantize),
        RunOptions(artifacts_dir=artifacts_dir, run_dir=run_dir, force=force, target=where),
    )
    say(outcome, perf_counter() - started)
