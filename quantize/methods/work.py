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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from quantserve.core.checkpoints import find_weights
from quantserve.core.errors import InputError
from quantserve.core.files import remove_tree, write_json
from quantserve.quantize.calibration.packing import pack
from quantserve.quantize.config import AwqOptions, BitsAndBytesOptions, GptqOptions
from quantserve.quantize.methods.assembly import assemble, quantize_plainly, quantize_to_llm_int8
from quantserve.quantize.methods.formats.checkpoint import copy_companions, read_config, stored_dtype
from quantserve.quantize.methods.formats.layouts import (
    BITSANDBYTES_SETTINGS,
    Layout,
    bitsandbytes_settings,
    layout_of,
)
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED, WeightOptions, recipe_of, widths_of
from quantserve.quantize.methods.job import RESULT, QuantizationJob, Report
from quantserve.quantize.methods.layers.dataflow import Dataflow
from quantserve.quantize.methods.layers.layer import MovedScale
from quantserve.quantize.methods.layers.layer_files import LayerFiles
from quantserve.quantize.methods.layers.layer_pass import LayerPass, dataflows, folder_of_layers
from quantserve.quantize.methods.proof.bounds import ProofFailed, prove
from quantserve.quantize.methods.registry import METHODS, Options, by_library, needs_text
from quantserve.quantize.models.checks import CheckpointError, read_json
from quantserve.quantize.models.inspection import decoder_layers
from quantserve.quantize.models.source import ADAPTER_WEIGHTS
from quantserve.quantize.models.structure import Structure
from quantserve.quantize.models.tokenizer import load_tokenizer

TOKENS = "tokens.json"
MERGED = "merged"
_ELSEWHERE = "read outside of their module"
# What is left out, attempt by attempt, where the result is worse than plain rounding.
_ATTEMPTS: tuple[dict[str, Any], ...] = (
    {},
    {"scaling": "none"},
    {"scaling": "none", "feedback": False, "exponent": 0.0},
)


def quantize(job: QuantizationJob, report: Report) -> dict[str, Any]:
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


def _quantize(job: QuantizationJob, options: Options, report: Report) -> dict[str, Any]:
    if isinstance(options, BitsAndBytesOptions) and options.bits == 4:
        report("stage", text="Copying")
        _copy(job.model_dir, job.output_dir)
        write_json(job.output_dir / BITSANDBYTES_SETTINGS, bitsandbytes_settings(options))
        return {"device": "none"}
    structure = Structure.from_dict(job.structure)
    if isinstance(options, BitsAndBytesOptions):
        names = list(structure.quantizable)
        quantize_to_llm_int8(job, report, bitsandbytes_settings(options), names)
        return {"device": "cpu", **_counts(structure, {}, structure.unquantized)}
    if not needs_text(options):
        widths = _widths(structure, options, {})
        layout = layout_of(job.method, options, widths, wide=job.wide)
        quantize_plainly(
            job, report, layout, recipe_of(options, widths, wide=job.wide), list(structure.quantizable)
        )
        return {
            "device": "cpu",
            **_counts(structure, widths, structure.unquantized),
            **_proved(job, layout, structure, [], report),
        }
    packed = _tokens(job, report)
    if isinstance(options, GptqOptions | AwqOptions) and by_library(options):
        from quantserve.quantize.methods.gptqmodel import quantize_by_library

        widths = _widths(structure, options, {})
        layout = layout_of(job.method, options, widths, wide=job.wide)
        facts = quantize_by_library(job, options, packed, layout, report)
        proof = _proved(job, layout, structure, [], report)
        return {**facts, **_counts(structure, widths, structure.unquantized), **proof}
    facts = {**packed["facts"], "device": "cuda:0" if torch.cuda.is_available() else "cpu"}
    return {**facts, **_quantize_by_layer(job, options, structure, torch.tensor(packed["ids"]), report)}


def _quantize_by_layer(
    job: QuantizationJob, options: WeightOptions, structure: Structure, ids: torch.Tensor, report: Report
) -> dict[str, Any]:
    """Pass the text through the layers; what the proof rejects is made again with less of the recipe."""
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    rejected: list[str] = []
    for number, less in enumerate(_ATTEMPTS):
        report("stage", text="Loading the model")
        model: Any = AutoModelForCausalLM.from_pretrained(job.model_dir, dtype="auto")
        flows = dataflows(model, ids, device)
        unquantized = {**structure.unquantized, **_read_elsewhere(structure, model, flows)}
        widths = _widths(structure, options, unquantized)
        layout = layout_of(job.method, options, widths, wide=job.wide)
        recipe = recipe_of(options, widths, wide=job.wide)
        if number and replace(recipe, **less) == replace(recipe, **_ATTEMPTS[number - 1]):
            continue
        recipe = replace(recipe, **less)
        report("stage", text="Quantizing")
        layers = LayerFiles(folder_of_layers(job.work_dir))
        LayerPass(
            model,
            recipe,
            flows,
            layers,
            device,
            lambda done, of: report("layer", done=done, of=of),
            stored=structure.stored,
            storage=stored_dtype(read_config(job.model_dir), layout),
        ).run(ids)
        del model
        report("stage", text="Saving")
        assemble(job.model_dir, job.output_dir, layout, recipe, layers, structure.experts)
        finished = [layers.read(index) for index in range(layers.count())]
        moved = [one for layer in finished for one in layer.moved]
        try:
            proof = _proved(job, layout, structure, moved, report)
        except ProofFailed as error:
            if number == len(_ATTEMPTS) - 1:
                raise
            rejected.append(error.problem)
            report("rejected", problem=error.problem)
            layers.clear()
            remove_tree(job.output_dir)
            job.output_dir.mkdir()
            continue
        return {
            **_counts(structure, widths, unquantized),
            **proof,
            "unseen": [name for layer in finished for name in layer.unseen],
            "rejected": rejected,
        }
    raise RuntimeError("the last attempt neither returned nor raised")


def _widths(structure: Structure, options: WeightOptions, unquantized: Mapping[str, str]) -> dict[str, int]:
    """Return the widths of all modules with one of their own, those that stay in 16 bits among them."""
    asked = widths_of(structure.quantizable, options.precision_override)
    return {**asked, **dict.fromkeys((*structure.unquantized, *unquantized, *structure.blocks), UNQUANTIZED)}


def _read_elsewhere(structure: Structure, model: PreTrainedModel, flows: list[Dataflow]) -> dict[str, str]:
    """Return parts whose weights are read outside of them, which no kernel replaces."""
    prefix, _ = decoder_layers(model)
    return {
        structure.stored[f"{prefix}.{layer}.{name}.weight"].removesuffix(".weight"): _ELSEWHERE
        for layer, flow in enumerate(flows)
        for name in flow.elsewhere
    }


def _proved(
    job: QuantizationJob, layout: Layout, structure: Structure, moved: list[MovedScale], report: Report
) -> dict[str, Any]:
    report("stage", text="Proving")
    storage = stored_dtype(read_config(job.model_dir), layout)
    return {"proof": prove(job.model_dir, job.output_dir, layout, structure, moved, storage).model_dump()}


def _counts(
    structure: Structure, widths: Mapping[str, int], unquantized: Mapping[str, str]
) -> dict[str, Any]:
    """Return how many matrices were quantized, and which were not and why."""
    asked = {
        name: "asked for"
        for name in structure.quantizable
        if widths.get(name) == UNQUANTIZED and name not in unquantized
    }
    left = {**asked, **unquantized}
    return {
        "quantized": len(set(structure.quantizable) - set(left)),
        "unquantized": dict(sorted(left.items())),
    }


def _tokens(job: QuantizationJob, report: Report) -> dict[str, Any]:
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


def _with_adapter(job: QuantizationJob, report: Report) -> QuantizationJob:
    """Return the job on the merged model, where an adapter was given."""
    if job.adapter is None:
        return job
    merged = job.work_dir / MERGED
    if not merged.is_dir():
        report("stage", text="Merging the adapter")
        merge_adapter(job.model_dir, Path(job.adapter), merged)
    return replace(job, model=str(merged))


def _copy(model: Path, output: Path) -> None:
    weights = find_weights(model, read_json(model / "config.json"), error=CheckpointError)
    for path in (*weights.files, *([weights.index] if weights.index else []), model / "config.json"):
        shutil.copyfile(path, output / path.name)
    copy_companions(model, output)


def merge_adapter(base: Path, adapter: Path, output: Path) -> None:
    """Write the base with the adapter's update added to its weights; `output` appears whole.

    Raises:
        InputError: the adapter was made for another model.
    """
    from peft import PeftModel

    part = output.with_name(f"{output.name}.part")
    remove_tree(part)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    try:
        fitted = PeftModel.from_pretrained(model, str(adapter))
        _require_whole(fitted, adapter, base)
        merged = fitted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"The adapter {adapter} does not fit {base.name}: {str(error).splitlines()[0][:200]}",
            mend="Name the model that it was trained on",
        ) from error
    merged.save_pretrained(part)
    copy_companions(base, part)
    part.rename(output)


def _require_whole(fitted: Any, adapter: Path, base: Path) -> None:
    """Refuse an adapter of which the model takes a part, or nothing: peft warns, and merges what it took.

    Raises:
        InputError: tensors of the adapter have no place in the model, or places have no tensor.
    """
    from peft import get_peft_model_state_dict

    wanted, allowed = (
        set(get_peft_model_state_dict(fitted, save_embedding_layers=more)) for more in (False, True)
    )
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as file:
        there = set(file.keys())
    unknown, missing = sorted(there - allowed), sorted(wanted - there)
    if unknown or missing:
        raise InputError(
            f"The adapter {adapter} does not fit {base.name}: "
            + (f"the model has no place for {unknown[0]}" if unknown else f"it lacks {missing[0]}"),
            mend="Name the model that it was trained on, and the folder as peft saved it",
        )
