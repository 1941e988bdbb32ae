"""`quantserve benchmarks …`: measure any OpenAI-compatible server, and say whether it may be believed.

Exit codes of what measures: 0 valid, 7 not valid, 8 not known, 1 a target was missed or something failed.
"""

from __future__ import annotations

import quantserve.core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from quantserve.benchmarks.cli.running import crosscheck, latency, rag, run
from quantserve.benchmarks.cli.runs import compare, report, results
from quantserve.benchmarks.cli.started import (
    batching,
    features,
    guard,
    peers,
    quant,
    retrieval,
    serving,
    soak,
    tune,
)
from quantserve.core.console import run_app

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
commands: list[Callable[..., None]] = [run, latency, report, results, compare, batching, quant, features]
commands += [peers, rag, retrieval, crosscheck, serving, guard, soak, tune]
for command in commands:
    app.command()(command)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """End as by Ctrl-C, so that servers that were started are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    run_app(app, "benchmarks")
