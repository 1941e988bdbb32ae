"""The quality gate: may this artifact serve?

In: an artifact and the base checkpoint it was made from. The artifact is started first, then the base,
exactly as they would be deployed, and both are measured over the OpenAI HTTP API. Out: `report.json` in
the artifact with a verdict, ACCEPT, REGRESSION, ANOMALOUS or INFEASIBLE, and every figure beside its
threshold.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """`from quantserve.quantize import gate` gives this package, however it was imported; calling it judges."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Judge an artifact: `quantize.api.gate`."""
        from quantserve.quantize import api

        return api.gate(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
