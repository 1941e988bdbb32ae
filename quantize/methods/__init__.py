"""The registry of methods: each name, its options and the module that does the work.

In: a method's name and the options the user gave. Out: a frozen dataclass, refused before any work when
the engine would not load the result. The modules themselves import torch and are imported by the worker.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
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
from quantserve.quantize.methods.formats import AUTO, fitting, settle_layout, why_not
from quantserve.quantize.methods.targets import refuse_unloadable

Options = GptqOptions | AwqOptions | RtnOptions | Int8Options | Fp8Options | BitsAndBytesOptions
_DRIVERS = ("layers", "gptqmodel")


@dataclass(frozen=True)
class Method:
    """A way to quantize; `module` offers `quantize(job, report)`; `tools` shape the result."""

    name: str
    title: str
    options: type[Any]
    module: str = "quantserve.quantize.methods.run_method"
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


def find(name: str) -> Method:
    """Return a method by name.

    Raises:
        UsageError: there is none of that name; the message lists those there are.
    """
    try:
        return METHODS[name.lower()]
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
    _refuse_nonsense(options)
    return _with_layout(options, target)


def bits_of(options: Options) -> int:
    """Return the width most weights get."""
    return int(getattr(options, "bits", 8))


def group_size_of(options: Options) -> int | None:
    """Return the group size, or None for a method without groups."""
    size: int | None = getattr(options, "group_size", None)
    return size


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
    if not isinstance(options, GptqOptions | AwqOptions | RtnOptions):
        return options
    eight = any(text.endswith("=8") for text in options.keep)
    why = why_not(options.layout, options.bits, symmetric=options.symmetric, keeps_eight=eight)
    if why is not None:
        others = fitting(options.bits, symmetric=options.symmetric, keeps_eight=eight)
        raise UsageError(
            f"--layout {options.layout}: {why}", mend=f"Use {', '.join(others)}, or leave it out"
        )
    if getattr(options, "driver", "layers") == "gptqmodel":
        return options  # the library writes AutoGPTQ's and AutoAWQ's
    layout = settle_layout(options.layout, options.bits, symmetric=options.symmetric, target=target)
    return dataclasses.replace(options, layout=layout)


def _refuse_nonsense(options: Options) -> None:
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
    keep = getattr(options, "keep", ())
    if isinstance(options, Int8Options | Fp8Options) and any(text.endswith("=8") for text in keep):
        raise UsageError("--keep with 8 bits changes nothing in 8 bits", mend="Keep modules in 16")
    if getattr(options, "driver", "layers") == "gptqmodel":
        for name, unset in (("keep", ()), ("layout", AUTO)):
            if getattr(options, name) != unset:
                raise UsageError(f"--{name} works with --driver layers only", mend="Leave out one of the two")
