"""What a run will need, from tensor shapes and options alone: memory, disk, and work. Pure.

The counts follow the code of `quantize.methods`. The constants were fitted to measured runs, which
docs/quantize.md lists beside what these formulas say of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from quantize.config import AwqOptions, BitsAndBytesOptions, CalibrationOptions, GptqOptions, Int8Options
from quantize.methods import Options, bits_of, group_size_of, needs_text
from quantize.models.checks import Checkpoint, TensorInfo

_FLOAT_BYTES = 4
_HALF_BYTES = 2
# The worker with torch and transformers and nothing loaded.
_LIBRARIES_BYTES = 450_000_000
# With --driver gptqmodel: its library; and a float32 copy of the weights.
_GPTQMODEL_BYTES = 500_000_000
# Float32 copies alive at once at the peak: of a layer's widest activations, of the widest second
# moments, and of a layer's largest weight while its grid is searched.
_ACTIVATION_COPIES = 3.0
_MOMENT_COPIES = 5.0
_WEIGHT_COPIES = 4.0
# Share of a plain matrix product's speed that a run's products reach.
_PRODUCT_SHARE = 0.35
# Trying one scale for one weight costs as much as this many operations of a matrix product.
_TRIAL_OPERATIONS = 60.0
_START_S = 8.0
# Candidate scales of a searched grid, and steps of AWQ's search for channel scales.
_GRID_TRIALS = 38
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


def estimate(checkpoint: Checkpoint, options: Options, calibration: CalibrationOptions) -> Needs:
    """Estimate a run's needs on a CPU."""
    linear = list(checkpoint.linear_layers().values())
    if isinstance(options, BitsAndBytesOptions):
        return Needs(_LIBRARIES_BYTES, checkpoint.elements * _HALF_BYTES)
    tokens = calibration.tokens if needs_text(options) else 0
    return Needs(
        memory_bytes=_memory_bytes(checkpoint, linear, options, tokens),
        disk_bytes=_disk_bytes(checkpoint, linear, options),
        # A byte for each code, and the float scales and zero points of each group.
        scratch_bytes=math.ceil(sum(t.elements for t in linear) * 1.25) if tokens else 0,
        operations=_operations(checkpoint, linear, options, tokens),
    )


def _memory_bytes(checkpoint: Checkpoint, linear: list[TensorInfo], options: Options, tokens: int) -> int:
    halves = checkpoint.elements * _HALF_BYTES
    largest = max((tensor.elements for tensor in linear), default=0)
    if not tokens:
        return round(_LIBRARIES_BYTES + halves + largest * _FLOAT_BYTES * _WEIGHT_COPIES)
    widest = max(max(tensor.shape) for tensor in linear)
    inputs = max(tensor.shape[1] for tensor in linear)
    work = (
        tokens * widest * _ACTIVATION_COPIES
        + inputs * inputs * _MOMENT_COPIES
        + largest * _WEIGHT_COPIES
        + _layer_elements(checkpoint, linear)
    ) * _FLOAT_BYTES
    library = 0
    if getattr(options, "driver", "layers") == "gptqmodel":
        library = _GPTQMODEL_BYTES + checkpoint.elements * _FLOAT_BYTES
    return round(_LIBRARIES_BYTES + halves + work + library)


def _layer_elements(checkpoint: Checkpoint, linear: Iterable[TensorInfo]) -> int:
    """Return the weights of one layer, which works in float32."""
    layers = int(checkpoint.config.get("num_hidden_layers") or 1)
    return sum(tensor.elements for tensor in linear) // max(layers, 1)


def _disk_bytes(checkpoint: Checkpoint, linear: list[TensorInfo], options: Options) -> int:
    quantized = sum(tensor.elements for tensor in linear)
    size = group_size_of(options)
    # A 16-bit scale and a zero point of the weights' width for each group.
    bits = float(bits_of(options) or 16)
    bits += (16 + bits) / size if size is not None and size > 0 else 0
    return math.ceil(quantized * bits / 8) + (checkpoint.elements - quantized) * _HALF_BYTES


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
        # Column by column: each rounds once and corrects, on average, half of the columns.
        products += sum(float(t.elements * t.shape[1] + 2 * t.shape[1] ** 3) for t in linear)
    return products + trials * _TRIAL_OPERATIONS
