"""GPTQ and AWQ by the GPTQModel library, for architectures that our layer pass does not cover.

In: a job, a method's options and calibration tokens. Out: a checkpoint in the layout the engine loads.
Imported by the worker only: it needs torch.
"""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import BACKEND
from gptqmodel.quantization.config import FORMAT, AWQConfig, GPTQConfig

from quantserve.quantize.config import AwqOptions, GptqOptions
from quantserve.quantize.methods.gptqmodel import driver, scale_search
from quantserve.quantize.methods.gptqmodel.half import faster_half
from quantserve.quantize.methods.gptqmodel.layout import finish
from quantserve.quantize.worker.job import Job, Report


def quantize(
    job: Job, options: GptqOptions | AwqOptions, packed: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Quantize into `job.output_dir` and return what only the worker knows."""
    if isinstance(options, AwqOptions):
        _awq(job, options, packed["ids"], report)
    else:
        _gptq(job, options, packed["ids"], report)
    return {**packed["facts"], "device": driver.device()}


def _awq(job: Job, options: AwqOptions, ids: list[list[int]], report: Report) -> None:
    config = AWQConfig(
        bits=options.bits,
        group_size=options.group_size,
        sym=options.symmetric,
        offload_to_disk=False,
        device=driver.device(),
    )
    backend = BACKEND.AUTO if torch.cuda.is_available() else BACKEND.AWQ_TORCH
    # Its packed layer takes a 16-bit type only.
    driver.run(job, ids, report, config, backend, faster_half())
    finish(job, awq_layout=False)


def _gptq(job: Job, options: GptqOptions, ids: list[list[int]], report: Report) -> None:
    scale_search.install()
    config = GPTQConfig(
        bits=options.bits,
        group_size=options.group_size,
        sym=options.symmetric,
        damp_percent=options.damping,
        mse=options.mse,
        act_group_aware=options.act_group_aware,
        desc_act=options.desc_act,
        # The first version of the format stores zero points less one, which cannot express zero.
        format=FORMAT.GPTQ if options.symmetric else FORMAT.GPTQ_V2,
        offload_to_disk=False,
        device=driver.device(),
    )
    # Every CPU multiplies float32 at a fair speed, and the Hessians are float32 anyway.
    driver.run(job, ids, report, config, BACKEND.AUTO, torch.float32)
    finish(job, awq_layout=not options.symmetric)
