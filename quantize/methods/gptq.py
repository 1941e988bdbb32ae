"""GPTQ through GPTQModel. Imported by the worker only: it needs torch."""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import BACKEND
from gptqmodel.quantization.config import FORMAT, GPTQConfig

from quantize.config import GptqOptions
from quantize.methods import gptqmodel_driver, scale_search
from quantize.methods.layout import finish
from quantize.worker.job import Job, Report


def quantize(job: Job, report: Report) -> dict[str, Any]:
    """Quantize by GPTQ and write the layout that the engine loads."""
    options = GptqOptions(**job.options)
    scale_search.install()
    config = GPTQConfig(
        bits=options.bits,
        group_size=options.group_size,
        sym=options.symmetric,
        damp_percent=options.damping,
        mse=options.mse,
        act_group_aware=options.act_group_aware,
        desc_act=options.desc_act,
        true_sequential=options.true_sequential,
        # The first version of the format stores zero points less one, which cannot express zero.
        format=FORMAT.GPTQ if options.symmetric else FORMAT.GPTQ_V2,
        offload_to_disk=False,
        device=gptqmodel_driver.device(),
    )
    # Every CPU multiplies float32 at a fair speed, and the Hessians are float32 anyway.
    result = gptqmodel_driver.run(job, report, config, BACKEND.AUTO, torch.float32)
    finish(job, awq_layout=not options.symmetric)
    return result
