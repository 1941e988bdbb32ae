"""Before the work: what a run needs, what the machine has, and what cannot fit is refused at once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from quantserve.core.console import console
from quantserve.core.errors import ResourceError, UsageError
from quantserve.core.files import require_disk_space
from quantserve.core.sizes import decimal_size
from quantserve.quantize.config import AwqOptions, GptqOptions, RtnOptions
from quantserve.quantize.estimate import Needs
from quantserve.quantize.methods import Options, group_size_of
from quantserve.quantize.methods.formats import AUTO
from quantserve.quantize.methods.keep import fused_names, widths_of
from quantserve.quantize.models.checks import Checkpoint
from quantserve.quantize.models.structure import Structure
from quantserve.quantize.speed import gemm_flops

# Candidate group sizes a message may recommend.
_GROUP_SIZES = (256, 128, 64, 32, 16)
_KERNEL_MULTIPLE = 32
# What vLLM 0.32 reads of an architecture's 4-bit weights is less than it reads of others'.
_IN_16_BITS = {"BloomForCausalLM": "query_key_value"}
"""It sorts these rows anew while it loads them, and takes every tensor of a layout for such rows."""
_PACKED_ALONE = frozenset({"Zamba2ForCausalLM"})
"""It renames the weights of adapters, and the packed layout's, which begin alike."""


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
        UsageError: with the group sizes that fit, or what to keep in 16 bits.
    """
    widths = widths_of(structure.quantizable, getattr(options, "keep", ()))
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
            mend=f"Keep what has such shapes in 16 bits: {' '.join(f'--keep {kind}' for kind in kinds)}",
        )


def fit_engine(structure: Structure, options: Options) -> Options:
    """Return the options with what the engine needs of this architecture's 4-bit weights.

    Raises:
        UsageError: the options say otherwise.
    """
    if not isinstance(options, GptqOptions | AwqOptions | RtnOptions):
        return options
    kept = _IN_16_BITS.get(structure.architecture)
    packed = structure.architecture in _PACKED_ALONE
    if (kept or packed) and getattr(options, "driver", "layers") == "gptqmodel":
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
    return replace(options, keep=(*options.keep, kept)) if kept else options


def available_memory_bytes() -> int:
    """Return the memory the kernel says can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ResourceError("/proc/meminfo does not say how much memory is available")


def preflight(needs: Needs, output: Path, *, device: str, force: bool) -> None:
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
        markup=False,
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


def check_resources(needs: Needs, output: Path) -> None:
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
