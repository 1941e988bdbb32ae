"""What a run will need, from tensor shapes and options alone: memory, disk, and work. Pure.

The counts follow the code of `quantize.methods`. The constants were fitted to measured runs, which
docs/quantize.md lists beside what these formulas say of them.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from quantserve.quantize.config import (
    AwqOptions,
    BitsAndBytesOptions,
    CalibrationOptions,
    GptqOptions,
    Int8Options,
)
from quantserve.quantize.methods import Options, bits_of, group_size_of, needs_text
from quantserve.quantize.models.checks import Checkpoint, TensorInfo
from quantserve.quantize.models.structure import Structure
from quantserve.quantize.proof import TOKENS as PROOF_TOKENS

_FLOAT_BYTES = 4
_HALF_BYTES = 2
# The worker with torch and transformers and nothing loaded.
_LIBRARIES_BYTES = 490_000_000
# With --driver gptqmodel: its library; all weights are float32 there.
_GPTQMODEL_BYTES = 500_000_000
# Of the embedding and head, which are mapped from the file, the text touches only its own words' rows.
_TOUCHED_SHARE = 0.5
# Float32 values a token at the widest point of a layer: three of the inner width, three of the hidden.
_WIDE_COPIES = 3
# Float32 copies alive while the last part of a layer is rounded: of its second moments with their factors,
# and of its weights with their candidates.
_MOMENT_COPIES = 10
_WEIGHT_COPIES = 5
# Float32 copies alive while the proof compares two runs' logits.
_LOGIT_COPIES = 4
# Tokenizer, configuration and chat template.
_COMPANION_BYTES = 4_000_000
# Share of a plain matrix product's speed that a run's products reach.
_PRODUCT_SHARE = 0.35
# Trying one scale for one weight costs as much as this many operations of a matrix product.
_TRIAL_OPERATIONS = 60.0
_START_S = 8.0
# Candidate scales of a searched grid, and steps of AWQ's search for channel scales.
_GRID_TRIALS = 38
# Of one weight file, as `quantize.methods.checkpoint` writes them.
_SHARD_BYTES = 4_000_000_000
_SCALE_STEPS = 20


@dataclass(frozen=True)
class Needs:
    """An estimate of a run: its peak memory, what it leaves on disk, and the operations it takes.

    scratch_bytes: what the finished layers take on disk while the run lasts.
    """

    memory_bytes: int
    disk_bytes: int
    scratch_bytes: int = 0
    operations: float = 0.0

    def seconds(self, gemm_flops: float) -> float:
        """Return about how long it takes on a machine whose matrix products are so fast."""
        return _START_S + self.operations / (gemm_flops * _PRODUCT_SHARE)


def estimate(
    checkpoint: Checkpoint, structure: Structure, options: Options, calibration: CalibrationOptions
) -> Needs:
    """Estimate a run's needs on a CPU."""
    linear = list(structure.tensors().values())
    if isinstance(options, BitsAndBytesOptions):
        return Needs(_LIBRARIES_BYTES, checkpoint.elements * _HALF_BYTES + _COMPANION_BYTES)
    tokens = calibration.tokens if needs_text(options) else 0
    making = _memory_bytes(checkpoint, structure, options, tokens)
    return Needs(
        memory_bytes=max(making, _proof_bytes(checkpoint, linear, options)),
        disk_bytes=_disk_bytes(checkpoint, linear, options),
        # A byte for each code, and the float scales and zero points of each group.
        scratch_bytes=math.ceil(sum(t.elements for t in linear) * 1.25) if tokens else 0,
        operations=_operations(checkpoint, linear, options, tokens),
    )


def _memory_bytes(checkpoint: Checkpoint, structure: Structure, options: Options, tokens: int) -> int:
    """Return libraries, file pages touched, one layer in float32, and the wider of its two hardest moments.

    Those are: the text at the layer's widest point, and the rounding of its widest part.
    """
    linear = list(structure.tensors().values())
    in_layers = sum(tensor.elements for tensor in linear)
    pages = in_layers * _HALF_BYTES + (checkpoint.elements - in_layers) * _HALF_BYTES * _TOUCHED_SHARE
    largest = max(tensor.elements for tensor in linear)
    if not tokens:
        # Finished tensors wait in memory until a file of them is full.
        written = min(_disk_bytes(checkpoint, linear, options), _SHARD_BYTES)
        return round(_LIBRARIES_BYTES + pages + written + largest * _FLOAT_BYTES * _WEIGHT_COPIES)
    inner = max(tensor.shape[1] for tensor in linear)
    hidden = statistics.mode(tensor.shape[1] for tensor in linear)
    passing = tokens * _WIDE_COPIES * (inner + hidden)
    rounding = tokens * (inner + 2 * hidden) + inner * inner * _MOMENT_COPIES + largest * _WEIGHT_COPIES
    floats = in_layers // max(structure.layers, 1) + max(passing, rounding)
    library = 0
    if getattr(options, "driver", "layers") == "gptqmodel":
        library = _GPTQMODEL_BYTES + checkpoint.elements * (_FLOAT_BYTES - _HALF_BYTES)
    return round(_LIBRARIES_BYTES + pages + floats * _FLOAT_BYTES + library)


def _proof_bytes(checkpoint: Checkpoint, linear: list[TensorInfo], options: Options) -> int:
    """Return what base and artifact side by side take: both files, what is outside the layers, and logits."""
    in_layers = sum(tensor.elements for tensor in linear)
    outside = checkpoint.elements - in_layers
    widest = max(tensor.elements for tensor in linear)
    vocabulary = max((t.shape[0] for t in checkpoint.tensors.values() if len(t.shape) == 2), default=0)
    floats = 2 * outside + widest * _WEIGHT_COPIES + _LOGIT_COPIES * PROOF_TOKENS * vocabulary
    files = checkpoint.elements * _HALF_BYTES + _disk_bytes(checkpoint, linear, options)
    return round(_LIBRARIES_BYTES + files + floats * _FLOAT_BYTES)


def _disk_bytes(checkpoint: Checkpoint, linear: list[TensorInfo], options: Options) -> int:
    quantized = sum(tensor.elements for tensor in linear)
    size = group_size_of(options)
    # A 16-bit scale and a zero point of the weights' width for each group.
    bits = float(bits_of(options) or 16)
    bits += (16 + bits) / size if size is not None and size > 0 else 0
    rest = (checkpoint.elements - quantized) * _HALF_BYTES
    return math.ceil(quantized * bits / 8) + rest + _COMPANION_BYTES


def _operations(checkpoint: Checkpoint, linear: list[TensorInfo], options: Options, tokens: int) -> float:
    """Count what the methods do: products in float operations, trials of scales as products' equals."""
    weights = sum(tensor.elements for tensor in linear)
    searched = bool(getattr(options, "mse", 0.0)) or not isinstance(options, Int8Options)
    trials = float(weights * (_GRID_TRIALS if searched else 1))
    products = 0.0
    if tokens:
        # The text passes every layer once, and its second moments are taken before each part.
        products += sum(2.0 * tokens * tensor.elements + tokens * tensor.shape[1] ** 2 for tensor in linear)
        scaled = isinstance(options, AwqOptions) or (
            isinstance(options, GptqOptions) and options.scale_channels
        )
        if scaled:
            products += sum(2.0 * _SCALE_STEPS * t.elements * t.shape[1] for t in linear)
            trials += weights * _SCALE_STEPS
    if isinstance(options, GptqOptions) or getattr(options, "feedback", False):
        # Column by column: each rounds once and corrects, on average, half of the columns.
        products += sum(float(t.elements * t.shape[1] + 2 * t.shape[1] ** 3) for t in linear)
    return products + trials * _TRIAL_OPERATIONS
