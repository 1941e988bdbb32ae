"""Before the work: what a run needs, what the machine has, and what cannot fit is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import ResourceError, UsageError
from core.files import require_disk_space
from quantize.config import CalibrationOptions
from quantize.methods import Options, group_size_of
from quantize.methods.keep import widths_of
from quantize.models.checks import Checkpoint

# Interpreter, torch, transformers and GPTQModel with nothing loaded.
_LIBRARIES_BYTES = 1_000_000_000
_WORK_BYTES_PER_VALUE = 4
# Candidate group sizes a message may recommend.
_GROUP_SIZES = (256, 128, 64, 32, 16)
_KERNEL_MULTIPLE = 32


@dataclass(frozen=True)
class Needs:
    """An estimate of a run's peak memory and of what it leaves on disk."""

    memory_bytes: int
    disk_bytes: int


def check_shapes(checkpoint: Checkpoint, options: Options) -> None:
    """Refuse a model that is quantized already, or whose layers the options do not fit.

    Raises:
        UsageError: with the group sizes that fit.
    """
    if checkpoint.quantized:
        raise UsageError(
            f"{checkpoint.directory} is quantized already", mend="Name the 16-bit model it was made from"
        )
    layers = checkpoint.linear_layers()
    if not layers:
        raise UsageError(f"{checkpoint.directory} has no layers to quantize", mend="Name a language model")
    size = group_size_of(options)
    if size is None:
        return
    names = [name.removesuffix(".weight") for name in layers]
    widths = widths_of(names, getattr(options, "keep", ()))
    grouped = {name: tensor for name, tensor in layers.items() if name.removesuffix(".weight") not in widths}
    inputs = sorted({tensor.shape[1] for tensor in grouped.values()})
    if size != -1 and any(inner % size for inner in inputs):
        fitting = [str(g) for g in _GROUP_SIZES if not any(inner % g for inner in inputs)]
        raise UsageError(
            f"Group size {size} does not divide this model's input sizes {', '.join(map(str, inputs))}",
            mend=f"Use --group-size {' or '.join(fitting)}" if fitting else "Use --group-size -1",
        )
    for name, tensor in grouped.items():
        if any(extent % _KERNEL_MULTIPLE for extent in tensor.shape):
            raise UsageError(
                f"{name} has shape {tensor.shape}; the engine's 4-bit kernel takes multiples of "
                f"{_KERNEL_MULTIPLE} only",
                mend=f"Keep it in 16 bits: --keep {name.removesuffix('.weight').rpartition('.')[2]}",
            )


def estimate(checkpoint: Checkpoint, calibration: CalibrationOptions) -> Needs:
    """Estimate a run's needs from tensor shapes alone.

    Memory: libraries, all weights in float32 and once more in 16 bits while they are read and written,
    three float32 copies of one layer's activations for all calibration tokens, the widest layer's
    Hessian in four copies. Disk: quantized linear layers at 5 bits, the rest in 16.
    """
    linear = checkpoint.linear_layers()
    linear_elements = sum(tensor.elements for tensor in linear.values())
    widest = max((tensor.shape[1] for tensor in linear.values()), default=0)
    hidden = int(checkpoint.config.get("hidden_size", widest))
    tokens = calibration.sequences * calibration.sequence_tokens
    memory = (
        _LIBRARIES_BYTES
        + checkpoint.elements * (_WORK_BYTES_PER_VALUE + 2)
        + tokens * hidden * _WORK_BYTES_PER_VALUE * 3
        + widest * widest * _WORK_BYTES_PER_VALUE * 4
    )
    disk = linear_elements * 5 // 8 + (checkpoint.elements - linear_elements) * 2 + (32 << 20)
    return Needs(memory, disk)


def available_memory_bytes() -> int:
    """Return the memory the kernel says can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ResourceError("/proc/meminfo does not say how much memory is available")


def check_resources(needs: Needs, output: Path) -> None:
    """Refuse a run for which memory or disk do not suffice.

    Raises:
        ResourceError: with the figures.
    """
    available = available_memory_bytes()
    if needs.memory_bytes > available:
        raise ResourceError(
            f"Quantizing needs about {needs.memory_bytes / 1e9:.1f} GB of memory, "
            f"{available / 1e9:.1f} GB are available",
            mend="End other programs, use a smaller model or fewer --sequences, or try it with --force",
        )
    # Staged beside the result, and written once more while the layout is finished.
    require_disk_space(output, needs.disk_bytes * 2, "The quantized model")
