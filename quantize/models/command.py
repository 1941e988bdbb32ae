"""`quantize model`: have a base checkpoint ready under models/."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from quantserve.core.checkpoints import hub_id
from quantserve.core.console import console, emit_json
from quantserve.core.sizes import decimal_size
from quantserve.quantize.config import DEFAULT_MODEL, MODELS_DIR, RUN_DIR
from quantserve.quantize.models.fetch import fetch
from quantserve.quantize.models.source import content_hash, read_source


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
        markup=False,
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
