"""Makes shapes, quantizes them in this process and judges them, for as long as it is asked.

    python worker.py FOLDER

Runs in the quantize environment: importing what quantizes takes longer than quantizing a shape. Reads a line
of JSON for each task, {"shape": NAME, "method": NAME, "options": {…}}, and answers with a line of it. Shapes
are made in FOLDER once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"

import torch  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

import quantize.preflight  # noqa: E402
import quantize.run  # noqa: E402
from core.errors import InputError, QuantserveError, UsageError  # noqa: E402
from core.files import remove_tree  # noqa: E402
from quantize.api import quantize as make  # noqa: E402
from quantize.methods import METHODS  # noqa: E402
from quantize.worker.job import Job  # noqa: E402
from tests.architectures.checkpoints import write  # noqa: E402
from tests.architectures.judge import Judge  # noqa: E402
from tests.architectures.shapes import all_shapes  # noqa: E402

CALIBRATION = {"calibration": "corpus", "sequences": 8, "sequence_tokens": 64}


class Crash(Exception):
    """The quantizer ended with an exception that is none of ours: users would see a traceback."""


# What a run has reported; a refusal has to come before a model is loaded or a layer is quantized.
_reported: list[str] = []
_WORK = ("layer", "Loading the model", "Quantizing")


def in_this_process(job: dict[str, Any], log: Path, on_event: Callable[[Any], None]) -> tuple[Any, int]:
    """Do what quantize.worker does, without a process of its own."""
    wanted = Job(**job)

    def report(event: str, **facts: Any) -> None:
        _reported.append(facts["text"] if event == "stage" else event)
        on_event({"event": event, **facts})

    module = __import__(METHODS[wanted.method].module, fromlist=["quantize"])
    result = module.quantize(wanted, report)
    return {"event": "result", **result}, result["peak_memory_bytes"]


@lru_cache(maxsize=1)
def judge_of(base: Path) -> Judge:
    """Return the judge of a base; tasks come shape by shape."""
    return Judge(base)


def attempt(base: Path, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Quantize and judge; return the outcome: ok, wrong, refused, late (refused after work) or crash."""
    _reported.clear()
    needs_text = method not in ("rtn", "fp8")
    with TemporaryDirectory(dir=base.parent) as folder:
        home = Path(folder)
        try:
            made = make(
                base,
                method=method,
                artifacts_dir=home / "artifacts",
                run_dir=home / "run",
                force=True,
                **(CALIBRATION if needs_text else {}),
                **options,
            )
        except (InputError, UsageError) as error:
            left = [str(path.relative_to(home)) for path in (home / "artifacts").rglob("*.safetensors")]
            begun = any(event in _WORK for event in _reported)
            kind = "late" if begun or left else "refused"
            return {"outcome": kind, "message": str(error), "mend": error.mend}
        except QuantserveError as error:
            return {"outcome": "crash", "message": f"{type(error).__name__}: {error}"}
        except Exception as error:  # noqa: BLE001  a crash is what the matrix looks for
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return {"outcome": "crash", "message": f"{type(error).__name__}: {str(error)[:300]} ({where})"}
        keep = options.get("keep_artifact")
        judged = judge_of(base).judge(made.directory)
        if keep:
            made.directory.rename(keep)
    return {"outcome": "ok" if judged.right else "wrong", **judged.to_dict()}


def base_of(folder: Path, name: str) -> Path:
    """Return a shape's checkpoint, made now if it is not there."""
    directory = folder / name
    if not directory.is_dir():
        write(all_shapes()[name], directory)
    return directory


def main() -> None:
    """Answer tasks until the end of standard input."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    quantize.run.run_job = in_this_process
    quantize.preflight.gemm_flops = lambda: 1e11
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        started = perf_counter()
        base = base_of(folder, task["shape"])
        if "method" in task:
            found = attempt(base, task["method"], task.get("options", {}))
        else:
            found = {"outcome": "made"}
        answers.write(json.dumps({**found, "seconds": round(perf_counter() - started, 2)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
