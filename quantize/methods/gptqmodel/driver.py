"""One calibrated run of GPTQModel, for GPTQ and AWQ alike: load, calibrate, quantize, save, report.

Imported by the worker only: it needs torch.
"""

from __future__ import annotations

import logging

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization.config import BaseQuantizeConfig

from quantserve.quantize.worker.job import Job, Report

_BATCH_SEQUENCES = 4


class _LayerProgress:
    """GPTQModel calls `layer_complete` twice for a layer: quantized, then packed."""

    def __init__(self, report: Report, layers: int) -> None:
        self._report = report
        self._layers = layers

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """Report a layer once its weights are quantized."""
        if not submodule_finalized:
            self._report("layer", done=layer_idx + 1, of=self._layers)


def device() -> str:
    """Return the device to quantize on."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def run(
    job: Job,
    ids: list[list[int]],
    report: Report,
    config: BaseQuantizeConfig,
    backend: BACKEND,
    dtype: torch.dtype,
) -> None:
    """Quantize a checkpoint into `job.output_dir`; weights and activations have `dtype` during the work."""
    logging.captureWarnings(True)
    report("stage", text="Loading the model")
    model = GPTQModel.load(str(job.model_dir), config, dtype=dtype)
    model.layer_callback = _LayerProgress(report, model.model.config.get_text_config().num_hidden_layers)
    report("stage", text="Quantizing")
    model.quantize(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids],
        batch_size=_BATCH_SEQUENCES,
        calibration_sort=None,
        backend=backend,
    )
    report("stage", text="Saving")
    model.save(str(job.output_dir))
