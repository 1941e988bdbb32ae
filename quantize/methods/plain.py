"""Methods that look at weights alone: round-to-nearest, INT8 and FP8. Imported by the worker: needs torch."""

from __future__ import annotations

from typing import Any

import torch

from quantserve.quantize.methods import packing
from quantserve.quantize.methods.assemble import half_of, read_config, stored_dtype, tensors_of, write_config
from quantserve.quantize.methods.checkpoint import CheckpointWriter, copy_companions, read_tensors
from quantserve.quantize.methods.formats import Layout, settings
from quantserve.quantize.methods.keep import KEPT_BITS
from quantserve.quantize.methods.layer import quantize_weights
from quantserve.quantize.methods.recipe import Recipe
from quantserve.quantize.worker.job import Job, Report


def quantize_plainly(job: Job, report: Report, layout: Layout, recipe: Recipe, names: list[str]) -> None:
    """Quantize the named modules one after the other; everything else is copied."""
    wanted = set(names)
    config = read_config(job.model_dir)
    dtype = stored_dtype(config, layout)
    writer = CheckpointWriter(job.output_dir, dtype)
    report("stage", text="Quantizing")
    done = 0
    for name, tensor in read_tensors(job.model_dir):
        module = name.removesuffix(".weight")
        if module not in wanted or recipe.width(module) == KEPT_BITS:
            writer.add_weight(name, tensor)
            continue
        if layout.format == "fp8":
            parts = packing.fp8(tensor)
        else:
            found = quantize_weights(tensor.float(), recipe.width(module), recipe, None)
            parts = tensors_of(found, layout, module)
        for suffix, part in parts.items():
            writer.add(f"{module}.{suffix}", part)
        done += 1
        report("layer", done=done, of=len(wanted))
    report("stage", text="Saving")
    writer.finish()
    write_config(config, job.output_dir, settings(layout), dtype, wide=layout.wide or writer.widened)
    copy_companions(job.model_dir, job.output_dir)


def quantize_to_llm_int8(job: Job, report: Report, settings: dict[str, Any], names: list[str]) -> None:
    """Write the named modules in bitsandbytes' 8-bit layout."""
    wanted = set(names)
    config = read_config(job.model_dir)
    dtype = torch.bfloat16 if job.wide else half_of(config)
    writer = CheckpointWriter(job.output_dir, dtype)
    report("stage", text="Quantizing")
    for name, tensor in read_tensors(job.model_dir):
        module = name.removesuffix(".weight")
        if module in wanted:
            for suffix, part in packing.llm_int8(tensor).items():
                writer.add(f"{module}.{suffix}", part)
        else:
            writer.add_weight(name, tensor)
    writer.finish()
    write_config(config, job.output_dir, {"quant_method": "bitsandbytes", **settings}, dtype, wide=job.wide)
    copy_companions(job.model_dir, job.output_dir)
