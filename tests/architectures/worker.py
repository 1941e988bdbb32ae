"""Makes shapes, quantizes them in this process and judges them, for as long as it is asked.

    python worker.py FOLDER

Runs in the quantize environment: importing what quantizes takes longer than quantizing a shape. Reads a line
of JSON for each task and answers with a line of it. Shapes are made in FOLDER once. A task is

    {"shape": NAME}                          makes the checkpoint; the answer says what float32 gives a prompt
    {"shape": NAME, "method": NAME, …}       quantizes and judges it, with these keys if they are there:
        "options": {…}                       of the method
        "spoil": WAY                         makes the artifact wrong first
        "keep": FOLDER                       puts the artifact there, with what float32 gives a prompt
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"

import torch
from transformers.utils import logging as transformers_logging

import quantserve.quantize.methods.preflight
import quantserve.quantize.run
from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.quantize.api import quantize as make
from quantserve.quantize.calibration import corpus
from quantserve.quantize.methods.job import QuantizationJob
from tests.architectures.checkpoints import write
from tests.architectures.judge import Judge
from tests.architectures.shapes import all_shapes
from tests.architectures.spoil import spoil

CALIBRATED = ("int8", "gptq", "awq")
SEQUENCES, SEQUENCE_TOKENS, TEXT_CHARS = 16, 128, 20_000


# What a run has reported; a refusal has to come before a model is loaded or a layer is quantized.
_reported: list[str] = []
_WORK = ("layer", "Loading the model", "Quantizing")


def job_in_this_process(job: dict[str, Any], log: Path, on_event: Callable[[Any], None]) -> Any:
    """Do what quantize.worker does, without a process of its own."""
    wanted = QuantizationJob(**job)

    def report(event: str, **facts: Any) -> None:
        _reported.append(facts["text"] if event == "stage" else event)
        on_event({"event": event, **facts})

    return {"event": "result", **import_module("quantserve.quantize.methods.work").quantize(wanted, report)}


def program_in_this_process(module: str, arguments: list[str], log: Path, what: str) -> None:
    """Do what `python -m quantserve.quantize.MODULE …` does."""
    before, sys.argv = sys.argv, [module, *arguments]
    try:
        import_module(f"quantserve.quantize.{module}").main()
    finally:
        sys.argv = before


def work_in_this_process() -> None:
    """Let the quantizer start no process, wherever it would."""
    ours = [module for name, module in sys.modules.items() if name.startswith("quantserve.quantize.")]
    for module in ours:
        for name, here in (("run_job", job_in_this_process), ("run_logged", program_in_this_process)):
            if hasattr(module, name):
                setattr(module, name, here)


@lru_cache(maxsize=1)
def judge_of(base: Path) -> Judge:
    """Return the judge of a base; tasks come shape by shape."""
    return Judge(base)


def attempt(base: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Quantize and judge; return the outcome: ok, wrong, refused, late (refused after work) or crash."""
    _reported.clear()
    with TemporaryDirectory(dir=base.parent) as folder:
        home = Path(folder)
        try:
            made = make(
                base,
                method=task["method"],
                artifacts_dir=home / "artifacts",
                run_dir=base.parent / f"run-{os.getpid()}",
                force=True,
                **calibration(task["method"], base.parent),
                **task.get("options", {}),
            )
        except (InputError, UsageError) as error:
            left = any((home / "artifacts").rglob("*.safetensors"))
            begun = any(event in _WORK for event in _reported)
            kind = "late" if begun or left else "refused"
            return {"outcome": kind, "message": str(error), "mend": error.mend}
        except QuantserveError as error:
            return {"outcome": "crash", "message": f"{type(error).__name__}: {error}"}
        except Exception as error:  # noqa: BLE001  a crash is what the matrix looks for
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return {"outcome": "crash", "message": f"{type(error).__name__}: {str(error)[:300]} ({where})"}
        return judged(base, made.directory, task)


def judged(base: Path, artifact: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Return what the judge says of an artifact, and put it where the task wants it."""
    if "spoil" in task:
        spoil(artifact, task["spoil"])
    judge = judge_of(base)
    found = judge.judge(artifact)
    answer = {"outcome": "ok" if found.right else "wrong", **found.to_dict()}
    if "keep" in task:
        answer |= reference(judge, artifact)
        shutil.move(artifact, task["keep"])
    return answer


def reference(judge: Judge, artifact: Path | None = None) -> dict[str, Any]:
    """Return what an engine is compared with: a prompt, and its log-probabilities in float32 and bfloat16."""
    exact = judge.log_probabilities(artifact)
    try:
        rounded = judge.log_probabilities(artifact, torch.bfloat16)
    except RuntimeError:  # some classes of transformers mix types: the engine gets no allowance for rounding
        rounded = exact
    return {"prompt": judge.prompt, "logprobs": exact, "rounded": rounded}


def calibration(method: str, folder: Path) -> dict[str, Any]:
    """Return the options of a calibration that takes no longer than a shape does, where there is one."""
    if method not in CALIBRATED:
        return {}
    return {"calibration": text_in(folder), "sequences": SEQUENCES, "sequence_tokens": SEQUENCE_TOKENS}


@cache
def text_in(folder: Path) -> Path:
    """Return a file with the beginning of the bundled text."""
    path = folder / f"calibration-{os.getpid()}.txt"
    documents = [entry.document for entry in corpus.entries("calibration")]
    plain = [" ".join(text.split()) for text in documents if isinstance(text, str)]
    path.write_text("\n\n".join(plain)[:TEXT_CHARS], encoding="utf-8")
    return path


def base_of(folder: Path, name: str) -> Path:
    """Return a shape's checkpoint, made now if it is not there."""
    directory = folder / name
    if not directory.is_dir():
        with TemporaryDirectory(dir=folder) as aside:
            write(all_shapes()[name], Path(aside) / name)
            # another worker may have been faster: both wrote the same
            with suppress(OSError):
                (Path(aside) / name).rename(directory)
    return directory


def main() -> None:
    """Answer tasks until the end of standard input."""
    torch.set_num_threads(1)
    quiet: Any = transformers_logging  # it ships no types
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    work_in_this_process()
    vars(sys.modules["quantserve.quantize.run"])["refuse_unserved"] = lambda model, run_dir: (
        None
    )  # test_engine asks the engine itself
    vars(quantserve.quantize.methods.preflight)["gemm_flops"] = lambda: 1e11  # nobody reads the estimate
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        started = perf_counter()
        base = base_of(folder, task["shape"])
        if "method" in task:
            found = attempt(base, task)
        else:
            found = {"directory": str(base), **reference(judge_of(base))}
        answers.write(json.dumps({**found, "seconds": round(perf_counter() - started, 2)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
