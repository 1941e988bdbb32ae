"""The worker: reads a job from stdin, does it, writes events to the file descriptor it was given.

    python -m quantserve.quantize.worker FD < job.json

Started by `quantize.worker.supervise` only.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from quantserve.core.errors import InputError, QuantserveError, ResourceError
from quantserve.quantize.methods import METHODS
from quantserve.quantize.worker.job import Job
from quantserve.quantize.worker.lifeline import die_with_parent


def main() -> None:
    """Do one job; an expected failure is an event, any other a traceback in the log."""
    die_with_parent()
    job = Job(**json.load(sys.stdin))
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:

        def report(event: str, **facts: Any) -> None:
            pipe.write(json.dumps({"event": event, **facts}) + "\n")
            pipe.flush()

        try:
            result = importlib.import_module(METHODS[job.method].module).quantize(job, report)
        except QuantserveError as error:
            kind = next((t.__name__ for t in (InputError, ResourceError) if isinstance(error, t)), None)
            report("error", kind=kind or "QuantserveError", problem=error.problem, mend=error.mend)
            sys.exit(1)
        report("result", **result)


if __name__ == "__main__":
    main()
