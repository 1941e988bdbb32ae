"""The worker: reads a job from stdin, does it, writes events to the file descriptor it was given.

    python -m quantserve.quantize.methods FD < job.json

Started by `quantize.worker.run_job` only.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from quantserve.core.errors import InputError, QuantserveError, ResourceError
from quantserve.quantize.methods.job import QuantizationJob
from quantserve.quantize.methods.work import quantize
from quantserve.quantize.worker import die_with_parent


def main() -> None:
    """Do one job; an expected failure is an event, any other a traceback in the log."""
    die_with_parent()
    job = QuantizationJob(**json.load(sys.stdin))
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def report(event: str, **facts: Any) -> None:
            pipe.write(json.dumps({"event": event, **facts}) + "\n")
            pipe.flush()

        try:
            result = quantize(job, report)
        except QuantserveError as error:
            kind = next((t.__name__ for t in (InputError, ResourceError) if isinstance(error, t)), None)
            report("error", kind=kind or "QuantserveError", problem=error.problem, hint=error.mend)
            sys.exit(1)
        report("result", **result)


if __name__ == "__main__":
    main()
