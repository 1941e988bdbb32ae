"""`python -m benchmarks …`: measure any OpenAI-compatible server, and say whether it may be believed.

Exit codes of what measures: 0 valid, 7 not valid, 8 not known, 1 a target was missed or something failed.
"""

from __future__ import annotations

import core.interrupt  # noqa: F401  before all that takes a while

# isort: split
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from benchmarks.commands.batching import batching
from benchmarks.commands.compare import compare
from benchmarks.commands.crosscheck import crosscheck
from benchmarks.commands.features import features
from benchmarks.commands.guard import guard
from benchmarks.commands.latency import latency
from benchmarks.commands.peers import peers
from benchmarks.commands.quant import quant
from benchmarks.commands.rag import rag
from benchmarks.commands.report import report
from benchmarks.commands.results import results
from benchmarks.commands.retrieval import retrieval
from benchmarks.commands.run import run
from benchmarks.commands.serving import serving
from benchmarks.commands.soak import soak
from core.console import run_app

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
