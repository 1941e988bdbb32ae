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

from quantserve.benchmarks.commands.batching import batching
from quantserve.benchmarks.commands.compare import compare
from quantserve.benchmarks.commands.crosscheck import crosscheck
from quantserve.benchmarks.commands.features import features
from quantserve.benchmarks.commands.guard import guard
from quantserve.benchmarks.commands.latency import latency
from quantserve.benchmarks.commands.peers import peers
from quantserve.benchmarks.commands.quant import quant
from quantserve.benchmarks.commands.rag import rag
from quantserve.benchmarks.commands.report import report
from quantserve.benchmarks.commands.results import results
from quantserve.benchmarks.commands.retrieval import retrieval
from quantserve.benchmarks.commands.run import run
from quantserve.benchmarks.commands.serving import serving
from quantserve.benchmarks.commands.soak import soak
from quantserve.core.console import run_app

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
commands: list[Callable[..., None]] = [run, latency, report, results, compare, batching, quant, features]
commands += [peers, rag, retrieval, crosscheck, serving, guard, soak]
for command in commands:
    app.command()(command)


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """End as by Ctrl-C, so that servers that were started are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    run_app(app, "benchmarks")
