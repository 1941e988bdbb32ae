"""One method's work in the worker, in stages that a killed run need not repeat. Needs torch.

    merged/           the base with the adapter merged in, where one was given
    tokens.json       the calibration text as tokens
    layers/NNNN…      each finished layer
    checkpoint/       the finished layout

Each stage is written aside and renamed, so what exists is whole.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from core.checkpoints import find_weights
from core.errors import InputError
from core.files import remove_tree, write_json
from quantize.calibration.pack import pack
from quantize.config import AwqOptions, BitsAndBytesOptions, GptqOptions
from quantize.methods import METHODS, Options, bitsandbytes, needs_text
from quantize.methods.assemble import assemble
from quantize.methods.checkpoint import copy_companions, read_tensors
from quantize.methods.keep import widths_of
from quantize.methods.layer_files import LayerFiles
from quantize.methods.layer_pass import LayerPass, folder_of_layers, names_of_parts, uncovered
from quantize.methods.plain import quantize_plainly, quantize_to_llm_int8
from quantize.methods.recipes import layout_of, recipe_of
from quantize.models.checks import CheckpointError, check_checkpoint, read_json
from quantize.models.tokenizer import load_tokenizer
from quantize.stages import RESULT
from quantize.worker.job import Job, Report

TOKENS = "tokens.json"
MERGED = "merged"


def quantize(job: Job, report: Report) -> dict[str, Any]:
    """Do the job into `job.output_dir`, which appears whole; return what only the worker knows."""
    started = perf_counter()
    options: Options = METHODS[job.method].options(**{**job.options, **_tuples(job.options)})
    job = _with_adapter(job, report)
    part = job.output_dir.with_name(f"{job.output_dir.name}.part")
    remove_tree(part)
    part.mkdir(parents=True)
    facts = _quantize(replace(job, output=str(part)), options, report)
    for path in part.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    result = {
        **facts,
        "seconds": round(perf_counter() - started, 1),
        "peak_memory_bytes": _peak_memory_bytes(),
    }
    write_json(job.work_dir / RESULT, result)
    part.rename(job.output_dir)
    return result


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _tuples(options: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; our options are hashable."""
    return {key: tuple(value) for key, value in options.items() if isinstance(value, list)}


def _quantize(job: Job, options: Options, report: Report) -> dict[str, Any]:
    if isinstance(options, BitsAndBytesOptions) and options.bits == 4:
        report("stage", text="Copying")
        _copy(job.model_dir, job.output_dir)
        write_json(job.output_dir / bitsandbytes.SETTINGS, bitsandbytes.settings(options))
        return {"device": "none"}
    names = [name.removesuffix(".weight") for name in check_checkpoint(job.model_dir).linear_layers()]
    if isinstance(options, BitsAndBytesOptions):
        quantize_to_llm_int8(job, report, bitsandbytes.settings(options), names)
        return {"device": "cpu"}
    widths = widths_of(names, options.keep)
    layout = layout_of(job.method, options, widths, wide=job.wide)
    recipe = recipe_of(options, widths, wide=job.wide)
    if not needs_text(options):
        quantize_plainly(job, report, layout, recipe, names)
        return {"device": "cpu"}
    if isinstance(options, GptqOptions | AwqOptions) and options.driver == "gptqmodel":
        from quantize.methods.gptqmodel import quantize as quantize_by_library

        return quantize_by_library(job, options, _tokens(job, report), report)
    packed = _tokens(job, report)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    report("stage", text="Loading the model")
    model = AutoModelForCausalLM.from_pretrained(job.model_dir, dtype="auto", attn_implementation="sdpa")
    foreign = uncovered(model, {name for name, _ in read_tensors(job.model_dir)})
    if foreign or set(names_of_parts(model)) - set(names):
        raise InputError(
            f"{type(model).__name__} has parts the layer pass does not know, such as "
            f"{foreign[0] if foreign else 'renamed modules'}",
            mend="Use --driver gptqmodel (methods gptq and awq), or --method rtn, int8 or fp8",
        )
    report("stage", text="Quantizing")
    layers = LayerFiles(folder_of_layers(job.work_dir))
    LayerPass(model, recipe, layers, device, lambda done, of: report("layer", done=done, of=of)).run(
        torch.tensor(packed["ids"])
    )
    del model
    report("stage", text="Saving")
    assemble(job.model_dir, job.output_dir, layout, layers)
    return {**packed["facts"], "device": device}


def _tokens(job: Job, report: Report) -> dict[str, Any]:
    """Return the calibration tokens and what is in them, packed before or packed now."""
    path = job.work_dir / TOKENS
    if not path.is_file():
        report("stage", text="Reading the calibration text")
        packed = pack(
            load_tokenizer(job.model_dir),
            job.groups,
            sequences=job.sequences,
            sequence_tokens=job.sequence_tokens,
            seed=job.seed,
        )
        write_json(path, {"ids": packed.sequences, "facts": packed.facts})
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    report("calibration", **found["facts"])
    return found


def _with_adapter(job: Job, report: Report) -> Job:
    """Return the job on the merged model, where an adapter was given."""
    if job.adapter is None:
        return job
    merged = job.work_dir / MERGED
    if not merged.is_dir():
        from quantize.methods.adapter import merge

        report("stage", text="Merging the adapter")
        merge(job.model_dir, Path(job.adapter), merged)
    return replace(job, model=str(merged))


def _copy(model: Path, output: Path) -> None:
    weights = find_weights(model, read_json(model / "config.json"), error=CheckpointError)
    for path in (*weights.files, *([weights.index] if weights.index else []), model / "config.json"):
        shutil.copyfile(path, output / path.name)
    copy_companions(model, output)
