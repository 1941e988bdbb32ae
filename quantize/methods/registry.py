"""Every method: its name, its options, and which results the engine loads on a CPU and on CUDA. Pure.

In: a method's name and the options the user gave. Out: a frozen dataclass, refused before any work when the
engine would not load the result.

From vLLM 0.32's sources: GPTQ's layout holds 4 and 8 bits without zero points, AWQ's 4 bits with them;
compressed-tensors' packed layout 2 bits too: of 3 it puts ten in a word, where the engine's loader expects
codes without gaps (seen on an H100). The CPU's kernel for packed weights takes 4 bits alone.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.errors import UsageError
from quantserve.quantize.config import (
    AwqOptions,
    BitsAndBytesOptions,
    Fp8Options,
    GptqOptions,
    Int8Options,
    RtnOptions,
)
from quantserve.quantize.methods.formats.layouts import AUTO, fitting, settle_layout, why_not

Options = RtnOptions | Int8Options | Fp8Options | BitsAndBytesOptions
GPTQMODEL = "gptqmodel"
"""The driver that is a library."""
_DRIVERS = ("layers", GPTQMODEL)
METHOD_FOR = {"cpu": "int8", "cuda": "gptq"}
"""Where none is asked for: a processor computes faster in 8 bits, a GPU reads less memory with 4."""
TARGETS = ("cpu", "cuda")
_CPU_BITS = (4,)
_CUDA_BITS = (2, 4, 8)
# vLLM's Marlin kernel, which reads GPTQ's and AWQ's layouts on CUDA.
_MARLIN_GROUPS = (-1, 32, 64, 128)


@dataclass(frozen=True)
class Method:
    """A way to quantize; `tools` shape the result."""

    name: str
    title: str
    options: type[Any]
    tools: tuple[str, ...] = ("torch", "transformers", "compressed-tensors", "safetensors")
    # Written into the content key: raise it when the same options begin to give another result.
    revision: int = 1

    @property
    def library(self) -> str:
        """The library whose version goes into the content key."""
        return self.tools[0]


METHODS = {
    method.name: method
    for method in (
        Method("gptq", "column by column with error feedback", GptqOptions, revision=4),
        Method("awq", "channels scaled by activation first", AwqOptions, revision=4),
        Method("rtn", "each weight to the nearest, no calibration", RtnOptions, revision=3),
        Method("int8", "8-bit weights and activations", Int8Options, revision=3),
        Method("fp8", "8-bit floats, CUDA only", Fp8Options, revision=3),
        Method("bitsandbytes", "quantized while loading, CUDA only", BitsAndBytesOptions),
    )
}


def method_named(name: str | None, target: str = "cpu") -> Method:
    """Return a method by name; None is the one for the target.

    Raises:
        UsageError: there is none of that name; the message lists those there are.
    """
    try:
        return METHODS[METHOD_FOR[target] if name is None else name.lower()]
    except KeyError as error:
        raise UsageError(f"Unknown method {name!r}", mend=f"Choose one of {', '.join(METHODS)}") from error


def make_options(method: Method, given: dict[str, Any], target: str = "cpu") -> Options:
    """Build a method's options from those the user gave (None means: not given).

    Raises:
        UsageError: an option that the method does not have, or a value that the engine on `target`
            would not load.
    """
    known = {field.name for field in dataclasses.fields(method.options)}
    chosen = {key: value for key, value in given.items() if value is not None}
    for key in chosen:
        if key not in known:
            raise UsageError(
                f"{method.name} has no option --{key.replace('_', '-')}",
                mend=f"It has {', '.join('--' + name.replace('_', '-') for name in sorted(known))}",
            )
    options: Options = method.options(**chosen)
    refuse_unloadable(method.name, options, target)
    _refuse_impossible(options)
    return _with_layout(options, target)


def bits_of(options: Options) -> int:
    """Return the width most weights get."""
    return int(getattr(options, "bits", 8))


def group_size_of(options: Options) -> int | None:
    """Return the group size, or None for a method without groups."""
    size: int | None = getattr(options, "group_size", None)
    return size


def by_library(options: Options) -> bool:
    """Whether GPTQModel does the work, and not our own pass."""
    return getattr(options, "driver", "") == GPTQMODEL


def needs_text(options: Options) -> bool:
    """Whether the method calibrates."""
    return isinstance(options, GptqOptions | AwqOptions) or (
        isinstance(options, Int8Options) and (options.smoothing != 0 or options.feedback)
    )


def _with_layout(options: Options, target: str) -> Options:
    """Settle the layout of packed weights.

    Raises:
        UsageError: the layout asked for does not hold them.
    """
    if not isinstance(options, RtnOptions):
        return options
    eight = any(text.endswith("=8") for text in options.precision_override)
    why = why_not(options.layout, options.bits, symmetric=options.symmetric, keeps_eight=eight)
    if why is not None:
        others = fitting(options.bits, symmetric=options.symmetric, keeps_eight=eight)
        raise UsageError(
            f"--layout {options.layout}: {why}", mend=f"Use {', '.join(others)}, or leave it out"
        )
    if by_library(options):
        return options  # the library writes AutoGPTQ's and AutoAWQ's
    layout = settle_layout(options.layout, options.bits, symmetric=options.symmetric, target=target)
    return dataclasses.replace(options, layout=layout)


def _refuse_impossible(options: Options) -> None:
    size = group_size_of(options)
    if size is not None and size != -1 and (size < 2 or size % 2):
        raise UsageError(f"Group size {size} is not even", mend="Use 32, 64 or 128")
    damping = getattr(options, "damping", 0.05)
    if not 0 < damping < 1:
        raise UsageError(f"--damping {damping} is not between 0 and 1", mend="Use 0.01 to 0.1")
    if getattr(options, "mse", 0.0) < 0:
        raise UsageError(f"--mse {getattr(options, 'mse', 0.0)} is negative", mend="Use 0 (off) or 2 to 3")
    if getattr(options, "driver", "layers") not in _DRIVERS:
        raise UsageError(
            f"Unknown driver {getattr(options, 'driver', '')!r}", mend=f"Choose one of {', '.join(_DRIVERS)}"
        )
    if isinstance(options, GptqOptions) and options.desc_act:
        raise UsageError(
            "The engine no longer loads GPTQ with desc_act (columns reordered on disk)",
            mend="Use --act-group-aware, which gains as much with the order kept",
        )
    if isinstance(options, Int8Options) and not 0 <= (options.smoothing or 0) <= 1:
        raise UsageError(f"--smoothing {options.smoothing} is not between 0 and 1", mend="Use 0.5 to 0.8")
    if isinstance(options, BitsAndBytesOptions) and options.bits not in (4, 8):
        raise UsageError(f"bitsandbytes has no {options.bits} bits", mend="Use --bits 4 or 8")
    overrides = getattr(options, "precision_override", ())
    if isinstance(options, Int8Options | Fp8Options) and any(text.endswith("=8") for text in overrides):
        raise UsageError(
            "--precision-override with 8 bits changes nothing in 8 bits", mend="Name modules that stay in 16"
        )
    if by_library(options):
        for name, unset in (("precision_override", ()), ("layout", AUTO)):
            if getattr(options, name) != unset:
                raise UsageError(
                    f"--{name.replace('_', '-')} works with --driver layers only",
                    mend="Leave out one of the two",
                )


def default_target() -> str:
    """Return what this machine has, found without importing torch."""
    has_cuda = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return "cuda" if has_cuda else "cpu"


def settled_target(target: str | None) -> str:
    """Return where the result is to be served: as asked for, else what this machine has.

    Raises:
        UsageError: there is no such target; with those there are.
    """
    target = target or default_target()
    if target not in TARGETS:
        raise UsageError(f"Unknown target {target!r}", mend=f"Choose one of {', '.join(TARGETS)}")
    return target


def refuse_unloadable(method: str, options: object, target: str) -> None:
    """Refuse before the work what the engine on the target would not load.

    Raises:
        UsageError: with the reason and what to use instead.
    """
    if isinstance(options, BitsAndBytesOptions) and target == "cpu":
        raise UsageError(
            "The engine reads bitsandbytes on CUDA only", mend="Use --method int8, or --target cuda"
        )
    if isinstance(options, Fp8Options) and target == "cpu":
        raise UsageError(
            "FP8 on a CPU is emulated by the engine: no CPU here has kernels for it",
            mend="Use --method int8, or --target cuda",
        )
    if isinstance(options, Fp8Options | Int8Options | BitsAndBytesOptions):
        return
    bits: int = getattr(options, "bits", 4)
    group_size: int = getattr(options, "group_size", -1)
    if target == "cpu" and bits not in _CPU_BITS:
        raise UsageError(
            f"{method} with {bits} bits: no kernel in the engine on CPU reads packed weights of other than 4",
            mend="Use --bits 4, --method int8 for 8 bits, or --target cuda",
        )
    if bits not in _CUDA_BITS:
        raise UsageError(
            f"{method} with {bits} bits has no layout that the engine loads", mend="Use --bits 2, 4 or 8"
        )
    if target == "cuda" and bits in (4, 8) and group_size not in _MARLIN_GROUPS:
        raise UsageError(
            f"Group size {group_size} has no kernel in the engine on CUDA",
            mend="Use --group-size 32, 64, 128 or -1",
        )
