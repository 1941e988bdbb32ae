"""AMD's kernels for its Zen processors (zentorch), without the compiler that comes with them.

vLLM takes these kernels where `import zentorch` works. That import also loads torch's compiler, for passes
over graphs that vLLM does not ask for: four seconds of every start. An engine that compiles nothing needs the
operators alone, and these are one shared library.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

VARIABLE = "QUANTSERVE_ZENTORCH"
"""The library's path, or `none`; unset, vLLM imports the whole package, where it is installed."""
NONE = "none"
_PACKAGE = "zentorch"


def prepare() -> None:
    """Do as the variable says, before anything imports vLLM."""
    library = os.environ.get(VARIABLE)
    if not library or _PACKAGE in sys.modules:
        return
    if library == NONE:
        sys.modules[_PACKAGE] = None  # type: ignore[assignment]  # importing it fails, as if it were absent
        return
    import torch

    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    sys.modules[_PACKAGE] = ModuleType(_PACKAGE, "Its operators alone: serving.zen.")
