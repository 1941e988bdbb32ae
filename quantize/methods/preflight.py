"""Before the work: what a run needs, what the machine has, and what cannot fit is refused at once.

The counts follow the code of this package. The constants were fitted to measured runs, which
docs/quantize.md lists beside what these formulas say of them.
"""

from __future__ import annotations

import math
import shutil
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from quantserve.core.console import console
from quantserve.core.errors import ResourceError, UsageError
from quantserve.core.files import require_disk_space
from quantserve.core.sizes import decimal_size
from quantserve.quantize.config import (
    AwqOptions,
    BitsAndBytesOptions,
    CalibrationOptions,
    GptqOptions,
    Int8Options,
    RtnOptions,
)
from quantserve.quantize.methods.formats.layouts import AUTO
from quantserve.quantize.methods.formats.recipe import fused_names, widths_of
from quantserve.quantize.methods.proof import TOKENS as PROOF_TOKENS
from quantserve.quantize.methods.registry import Options, bits_of, by_library, group_size_of, needs_text
from quantserve.quantize.models.checks import Checkpoint, TensorInfo
from quantserve.quantize.models.structure import Structure

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
# Float32 copies alive while the last part of a layer is rounded: of its Hessian with its factors,
# and of its weights with their candidates.
_HESSIAN_COPIES = 10
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
# Of one weight file, as `quantize.methods.formats.checkpoint` writes them.
_SHARD_BYTES = 4_000_000_000
_SCALE_STEPS = 20
_SIZE = 1024
_ROUNDS = 4
# Candidate group sizes a message may recommend.
_GROUP_SIZES = (256, 128, 64, 32, 16)
_KERNEL_MULTIPLE = 32
# What vLLM 0.32 reads of an architecture's 4-bit weights is less than it reads of others'.
_IN_16_BITS = {"BloomForCausalLM": "query_key_value"}
"""It sorts these rows anew while it loads them, and takes every tensor of a layout for such rows."""
_PACKED_ALONE = frozenset({"Zamba2ForCausalLM"})
"""It renames the weights of adapters, and the packed layout's, which begin alike."""


@dataclass(frozen=True)
class ResourceNeeds:
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
) -> ResourceNeeds:
    """Estimate a run's needs on a CPU."""
    linear = list(structure.tensors().values())
    if isinstance(options, BitsAndBytesOptions):
        return ResourceNeeds(_LIBRARIES_BYTES, checkpoint.elements * _HALF_BYTES + _COMPANION_BYTES)
    tokens = calibration.tokens if needs_text(options) else 0
    making = _memory_bytes(checkpoint, structure, options, tokens)
    return ResourceNeeds(
        memory_bytes=max(making, _proof_bytes(checkpoint, linear, options)),
        disk_bytes=_disk_bytes(checkpoint, linear, options),
        # A byte for each code, and the float scales and zero points of each group.
        scratch_bytes=math.ceil(sum(t.elements for t in linear) * 1.25) if tokens else 0,
        operations=_operations(checkpoint, linear, options, tokens),
    )


def _memory_bytes(checkpoint: Checkpoint, structure: Structure, options: Options, tokens: int) -> int:
    """Return libraries, file pages touched, one layer in float32, and the wider of its two hardest hessian.

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
    rounding = tokens * (inner + 2 * hidden) + inner * inner * _HESSIAN_COPIES + largest * _WEIGHT_COPIES
    floats = in_layers // max(structure.layers, 1) + max(passing, rounding)
    library = 0
    if by_library(options):
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
        # The text passes every layer once, and the Hessian is taken before each part.
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


def gemm_flops() -> float:
    """Return float32 operations a second of a matrix product on all cores; takes a tenth of a second."""
    import numpy

    a = numpy.ones((_SIZE, _SIZE), dtype=numpy.float32)
    a @ a  # the first wakes the threads
    best_s = min(_seconds(a) for _ in range(_ROUNDS))
    return float(2 * _SIZE**3 / best_s)


def _seconds(a: object) -> float:
    started = perf_counter()
    a @ a  # type: ignore[operator]
    return perf_counter() - started


def refuse_quantized(checkpoint: Checkpoint) -> None:
    """Refuse a model that is quantized already.

    Raises:
        UsageError: it is.
    """
    if checkpoint.quantized:
        raise UsageError(
            f"{checkpoint.directory} is quantized already", mend="Name the 16-bit model it was made from"
        )


def check_shapes(structure: Structure, options: Options) -> None:
    """Refuse a model whose matrices the options do not fit.

    Raises:
        UsageError: with the group sizes that fit, or what to leave in 16 bits.
    """
    widths = widths_of(structure.quantizable, getattr(options, "precision_override", ()))
    size = group_size_of(options)
    if size is None:
        return
    grouped = {name: tensor for name, tensor in structure.tensors().items() if name not in widths}
    inputs = sorted({tensor.shape[1] for tensor in grouped.values()})
    if size != -1 and any(inner % size for inner in inputs):
        fitting = [str(g) for g in _GROUP_SIZES if not any(inner % g for inner in inputs)]
        raise UsageError(
            f"Group size {size} does not divide this model's input sizes {', '.join(map(str, inputs))}",
            mend=f"Use --group-size {' or '.join(fitting)}" if fitting else "Use --group-size -1",
        )
    odd = [name for name, tensor in grouped.items() if any(side % _KERNEL_MULTIPLE for side in tensor.shape)]
    if odd:
        fused = (one for name in odd for one in fused_names(name) if one in grouped)
        kinds = dict.fromkeys(one.rpartition(".")[2] for one in fused)
        raise UsageError(
            f"{odd[0]} has shape {grouped[odd[0]].shape}; the engine's 4-bit kernel takes multiples of "
            f"{_KERNEL_MULTIPLE} only",
            mend="Leave what has such shapes in 16 bits: "
            + " ".join(f"--precision-override {kind}" for kind in kinds),
        )


def fit_engine(structure: Structure, options: Options) -> Options:
    """Return the options with what the engine needs of this architecture's 4-bit weights.

    Raises:
        UsageError: the options say otherwise.
    """
    if not isinstance(options, RtnOptions):
        return options
    part = _IN_16_BITS.get(structure.architecture)
    packed = structure.architecture in _PACKED_ALONE
    if (part or packed) and by_library(options):
        raise UsageError(
            f"The engine does not read what gptqmodel writes of a {structure.architecture}",
            mend="Leave --driver gptqmodel out",
        )
    if packed and options.layout not in (AUTO, "packed"):
        raise UsageError(
            f"The engine does not read a {structure.architecture} in the layout {options.layout}",
            mend="Use --layout packed, or leave it out",
        )
    options = replace(options, layout="packed") if packed else options
    return replace(options, precision_override=(*options.precision_override, part)) if part else options


def available_memory_bytes() -> int:
    """Return the memory the kernel says can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ResourceError("/proc/meminfo does not say how much memory is available")


def preflight(needs: ResourceNeeds, output: Path, *, device: str, force: bool) -> None:
    """Say what a run will need and what this machine has; refuse what cannot fit, unless forced.

    Raises:
        ResourceError: memory or disk do not suffice, with the figures.
    """
    disk = shutil.disk_usage(_existing(output)).free
    # On CUDA no run was measured, so nothing is promised.
    time = f", about {_duration(needs.seconds(gemm_flops()))}" if device == "cpu" else ""
    console.print(
        f"Needs about {decimal_size(needs.memory_bytes)} of memory ({decimal_size(available_memory_bytes())} "
        f"available), {decimal_size(needs.disk_bytes)} on disk ({decimal_size(disk)} free){time}",
        soft_wrap=True,
    )
    if not force:
        check_resources(needs, output)


def _duration(seconds: float) -> str:
    """Return a time as people say it; an estimate has no finer parts."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    while not path.exists():
        path = path.parent
    return path


def check_resources(needs: ResourceNeeds, output: Path) -> None:
    """Refuse a run for which memory or disk do not suffice.

    Raises:
        ResourceError: with the figures.
    """
    available = available_memory_bytes()
    if needs.memory_bytes > available:
        raise ResourceError(
            f"Quantizing needs about {decimal_size(needs.memory_bytes)} of memory, "
            f"{decimal_size(available)} are available",
            mend="End other programs, use a smaller model or fewer --sequences, or try it with --force",
        )
    require_disk_space(output, needs.disk_bytes + needs.scratch_bytes, "Quantizing")
