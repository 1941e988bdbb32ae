"""GPTQ and AWQ by the GPTQModel library, for architectures that our layer pass does not cover.

One call of the library, whose files are then written anew in the layout that the engine reads. Imported by
the worker only: it needs torch.
"""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization.config import FORMAT, AWQConfig, GPTQConfig

from quantserve.core.files import remove_tree
from quantserve.quantize.config import AwqOptions, GptqOptions
from quantserve.quantize.methods.assembly import ResultWriter
from quantserve.quantize.methods.formats.layouts import Layout
from quantserve.quantize.methods.formats.packing import Quantized
from quantserve.quantize.methods.job import QuantizationJob, Report
from quantserve.quantize.methods.proof.stored import StoredWeights, codes_of

_BATCH_SEQUENCES = 4
_SAVED = "gptqmodel.part"


def quantize_by_library(
    job: QuantizationJob,
    options: GptqOptions | AwqOptions,
    packed: dict[str, Any],
    layout: Layout,
    report: Report,
) -> dict[str, Any]:
    """Quantize into `job.output_dir` and return what only the worker knows."""
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    grid: dict[str, Any] = {"bits": options.bits, "group_size": options.group_size, "sym": options.symmetric}
    if isinstance(options, AwqOptions):
        config: Any = AWQConfig(**grid, offload_to_disk=False, device=device)
        # Its packed layer takes a 16-bit type only, and on a CPU a kernel of torch's own.
        backend, dtype = (
            (BACKEND.AUTO, torch.float16) if device != "cpu" else (BACKEND.AWQ_TORCH, torch.bfloat16)
        )
    else:
        # The first version of the format stores zero points less one, which cannot express zero.
        config = GPTQConfig(
            **grid,
            damp_percent=options.damping,
            mse=options.mse,
            act_group_aware=options.act_group_aware,
            desc_act=options.desc_act,
            format=FORMAT.GPTQ if options.symmetric else FORMAT.GPTQ_V2,
            offload_to_disk=False,
            device=device,
        )
        # Every CPU multiplies float32 at a fair speed, and the Hessians are float32 anyway.
        backend, dtype = BACKEND.AUTO, torch.float32
    report("stage", text="Loading the model")
    model = GPTQModel.load(str(job.model_dir), config, dtype=dtype)
    model.layer_callback = _LayerProgress(report, model.model.config.get_text_config().num_hidden_layers)
    report("stage", text="Quantizing")
    model.quantize(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in packed["ids"]],
        batch_size=_BATCH_SEQUENCES,
        calibration_sort=None,
        backend=backend,
    )
    report("stage", text="Saving")
    remove_tree(job.work_dir / _SAVED)
    model.save(str(job.work_dir / _SAVED))
    _rewrite(job, layout)
    remove_tree(job.work_dir / _SAVED)
    return {**packed["facts"], "device": device}


class _LayerProgress:
    """GPTQModel calls `layer_complete` twice for a layer: quantized, then packed."""

    def __init__(self, report: Report, layers: int) -> None:
        self._report = report
        self._layers = layers

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """Report a layer once its weights are quantized."""
        if not submodule_finalized:
            self._report("layer", done=layer_idx + 1, of=self._layers)


def _rewrite(job: QuantizationJob, layout: Layout) -> None:
    """Write what the library saved in the layout, with the base's own configuration and tokenizer.

    No value changes: its codes, scales and zero points are stored as the engine reads them.
    """
    saved = StoredWeights(job.work_dir / _SAVED)
    writer = ResultWriter(job.model_dir, job.output_dir, layout)
    packed = {f"{name}.weight" for name in saved.quantized}
    for name in sorted(saved.names() - packed):
        writer.add_weight(name, saved.get(name))
    for name in sorted(saved.quantized):
        codes, zeros, scales = codes_of(saved.parts(name), saved.settings)
        writer.add_quantized(name, Quantized(codes.to(torch.uint8), scales, zeros.float(), layout.bits))
    writer.close()
