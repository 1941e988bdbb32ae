"""The registry of methods: each name, its options and the module that does the work.

In: a method's name and the options the user gave. Out: a frozen dataclass, refused before any work when
the engine would not load the result. The modules themselves import torch and are imported by the worker.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError
from quantize.config import AwqOptions, GptqOptions

Options = GptqOptions | AwqOptions


@dataclass(frozen=True)
class Method:
    """A way to quantize; `module` offers `quantize(job, report)`; `library` goes into the content key."""

    name: str
    title: str
    options: type[GptqOptions] | type[AwqOptions]
    module: str
    library: str
    # Written into the content key: raise it when the same options begin to give another result.
    revision: int = 1


METHODS = {
    method.name: method
    for method in (
        Method(
            "gptq", "column by column with error feedback", GptqOptions, "quantize.methods.gptq", "gptqmodel"
        ),
        Method("awq", "channels scaled by activation first", AwqOptions, "quantize.methods.awq", "gptqmodel"),
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


def make_options(method: Method, given: dict[str, Any]) -> Options:
    """Build a method's options from those the user gave (None means: not given).

    Raises:
        UsageError: an option that the method does not have, or a value that the engine would not load.
    """
    known = {field.name for field in dataclasses.fields(method.options)}
    chosen = {key: value for key, value in given.items() if value is not None}
    for key in chosen:
        if key not in known:
            raise UsageError(
                f"{method.name} has no option --{key.replace('_', '-')}",
                mend=f"It has {', '.join('--' + name.replace('_', '-') for name in sorted(known))}",
            )
    options = method.options(**chosen)
    _refuse_what_the_engine_refuses(method.name, options)
    return options


def _refuse_what_the_engine_refuses(name: str, options: Options) -> None:
    if options.bits != 4:
        raise UsageError(
            f"{name} with {options.bits} bits has no kernel in the engine on CPU", mend="Use --bits 4"
        )
    if options.group_size != -1 and (options.group_size < 2 or options.group_size % 2):
        raise UsageError(f"Group size {options.group_size} is not even", mend="Use 32, 64 or 128")
    if isinstance(options, GptqOptions):
        if options.desc_act:
            raise UsageError(
                "The engine no longer loads GPTQ with desc_act (columns reordered on disk)",
                mend="Use --act-group-aware, which gains as much with the order kept",
            )
        if not 0 < options.damping < 1:
            raise UsageError(f"--damping {options.damping} is not between 0 and 1", mend="Use 0.01 to 0.1")
        if options.mse < 0:
            raise UsageError(f"--mse {options.mse} is negative", mend="Use 0 (off) or 2 to 3")
    elif options.symmetric:
        raise UsageError("The engine reads AWQ with zero points only", mend="Leave out --symmetric")
