"""What each layer loses when it alone is rounded to 4 bits; the measuring itself is `measure_losses`.

The figures are kept in `run/sensitivity/` under the model's and the text's hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.files import write_json
from quantserve.quantize.calibration.sources import load_text
from quantserve.quantize.config import CalibrationOptions
from quantserve.quantize.models.source import content_hash
from quantserve.quantize.worker import run_logged

SEQUENCES, SEQUENCE_TOKENS = 4, 128
_REVISION = 1


def layer_losses(model: Path, calibration: CalibrationOptions, run_dir: Path) -> list[float]:
    """Return the mean KL divergence in nats per token of each layer, measured now or before.

    Raises:
        WorkerFailed, ResourceError: the child process failed; the log's last line says why.
    """
    few = replace(calibration, sequences=SEQUENCES, sequence_tokens=SEQUENCE_TOKENS)
    text = load_text(few, model, run_dir)
    parts = [str(_REVISION), content_hash(model, run_dir), text.sha256, f"{SEQUENCES}x{SEQUENCE_TOKENS}"]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    result = run_dir / "sensitivity" / f"{key}.json"
    if not result.is_file():
        console.print("which layers lose most: rounding one after the other")
        job = run_dir / "sensitivity" / f"{key}.job.json"
        write_json(
            job,
            {
                "model": str(model.resolve()),
                "groups": text.groups,
                "sequences": SEQUENCES,
                "sequence_tokens": SEQUENCE_TOKENS,
                "seed": few.seed,
                "output": str(result.resolve()),
            },
        )
        words = [str(job.resolve())]
        run_logged("ladder.measure_losses", words, run_dir / "sensitivity.log", "measuring the layers")
        job.unlink(missing_ok=True)
    losses: list[float] = json.loads(result.read_text(encoding="utf-8"))["losses"]
    return losses
