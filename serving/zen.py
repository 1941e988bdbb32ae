"""AMD's kernels for its Zen processors (zentorch), without the compiler that comes with them.

vLLM takes these kernels where `import zentorch` works. That import wants the very release of torch that the
package was built with, and loads torch's compiler for passes over graphs that vLLM does not ask for: four
seconds of every start. The engine needs the operators alone, and these are one shared library, which runs on
other releases of torch. Where vLLM compiles, it needs to know the shapes of their results, too.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

VARIABLE = "QUANTSERVE_ZENTORCH"
"""The library's path, or `none`; unset, vLLM tries to import the whole package."""
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
    package = ModuleType(_PACKAGE, "Its operators alone: serving.zen.")
    package.__path__ = [os.path.dirname(library)]  # noqa: PTH120  its modules can be imported one by one
    sys.modules[_PACKAGE] = package
    if "--enforce-eager" not in sys.argv:
        importlib.import_module(f"{_PACKAGE}._meta_registrations")
