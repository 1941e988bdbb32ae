"""AWQ through GPTQModel. Imported by the worker only: it needs torch."""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import BACKEND
from gptqmodel.quantization.config import AWQConfig

from quantize.config import AwqOptions
from quantize.methods import gptqmodel_driver
from quantize.methods.half import faster_half
from quantize.methods.layout import finish
from quantize.worker.job import Job, Report


def quantize(job: Job, report: Report) -> dict[str, Any]:
    """Quantize by AWQ and write the layout that the engine loads."""
    options = AwqOptions(**job.options)
    config = AWQConfig(
        bits=options.bits,
        group_size=options.group_size,
        sym=options.symmetric,
        offload_to_disk=False,
        device=gptqmodel_driver.device(),
    )
    backend = BACKEND.AUTO if torch.cuda.is_available() else BACKEND.AWQ_TORCH
    # Its packed layer takes a 16-bit type only.
    result = gptqmodel_driver.run(job, report, config, backend, faster_half())
    finish(job, awq_layout=False)
    return result
