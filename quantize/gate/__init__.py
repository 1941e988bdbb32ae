"""The quality gate: may this artifact serve?

In: an artifact and the base checkpoint it was made from. The artifact is started first, then the base,
exactly as they would be deployed, and both are measured over the OpenAI HTTP API (`measure/`, `facts/`).
Out: a verdict (`judge/`), ACCEPT, REGRESSION, ANOMALOUS or INFEASIBLE, with every figure beside its
threshold (`report/`).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """`from quantserve.quantize import gate` gives this package, however imported; calling it judges."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Judge an artifact in the engine against its base; the verdict is in the outcome, not raised.

        arguments: the artifact's directory, and the base's where it is not models/NAME. options: those of
        `quantserve quantize gate`: limits (`max_ppl_increase=0.05`, …), benchmark tasks (`tasks`, names or
        one string with commas; `tasks_dir`, `tasks_limit`), `force`, and places (`models_dir`, `run_dir`, …).

        Raises:
            UsageError: an unknown option.
            GateError: no verdict is possible, for example because the base itself does not run.
        """
        from quantserve.quantize.gate.run import gate_by_options

        return gate_by_options(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
