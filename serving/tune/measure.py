"""Measure one running engine by the benchmark program of the rag environment, over HTTP.

`serving` may not import `benchmarks`, and need not: its last line of output is JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.errors import UsageError
from quantserve.serving.errors import ServingError
from quantserve.serving.tune.engines import Running

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 1800.0
_MEASURED = (0, 7, 8)
"""Exit codes of a run that is written: valid, not valid, not known. What disturbs a measurement disturbs the
other of its pair, too, and the interval over pairs decides."""
_SLO = re.compile(r"(?:(?:ttft|tpot|e2e)=\d+(?:\.\d+)?(?:ms|s)?(?:,|$))+")


@dataclass(frozen=True)
class Work:
    """What every engine is asked."""

    workload: str = "synthetic:prompt=16-128,output=32-96"
    load: str = "closed:32"
    requests: int = 64
    slo: str = ""
    """Limits as ttft=2s,tpot=200ms; with them requests that meet all of them are counted, not tokens."""


def check(work: Work) -> None:
    """Refuse limits that the benchmark would not understand, before anything is started.

    Raises:
        UsageError: they are not of the form.
    """
    if work.slo and not _SLO.fullmatch(work.slo):
        raise UsageError(f"--slo {work.slo!r} names no limits", mend="Write --slo ttft=2s,tpot=200ms")


def bench_python() -> str:
    """Return the interpreter that has the benchmarks."""
    return os.environ.get("QUANTSERVE_RAG_PYTHON") or str(_ROOT / ".venvs/rag/bin/python")


def argv(engine: Running, work: Work, seed: int, out: Path) -> list[str]:
    """Return the benchmark's command. Pure but for the interpreter's path."""
    words = [bench_python(), "-m", "quantserve.benchmarks", "run", "--base-url", engine.base_url]
    words += ["--model", engine.model, "--pid", str(engine.pid), "--workload", work.workload]
    words += ["--load", work.load, "--requests", str(work.requests), "--seed", str(seed)]
    words += ["--slo", work.slo] if work.slo else []
    return [*words, "--out", str(out), "--name", "tune"]


def figures(engine: Running, work: Work, seed: int) -> dict[str, Any]:
    """Load one engine once; return the figures of the one point.

    Raises:
        UsageError: the workload or load is none that it knows.
        ServingError: the benchmark could not be run; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="quantserve-tune-") as out:
        try:
            done = subprocess.run(
                argv(engine, work, seed, Path(out)),
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise ServingError(
                f"{bench_python()} is not there, so nothing can be measured",
                mend="Run make setup, or set QUANTSERVE_RAG_PYTHON",
            ) from error
        if done.returncode == UsageError.exit_code:
            raise UsageError(_said(done.stderr))
        if done.returncode not in _MEASURED:
            raise ServingError(f"the benchmark failed: {_said(done.stderr)}")
        return point_of(done.stdout)


def _said(errors: str) -> str:
    return " ".join(errors.split()).rpartition("benchmarks: ")[2][-400:]


def point_of(output: str) -> dict[str, Any]:
    """Read the only point from the last line of the benchmark's output.

    Raises:
        ServingError: there is none.
    """
    try:
        found: dict[str, Any] = json.loads(output.splitlines()[-1])["points"][0]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise ServingError("the benchmark measured nothing", mend="Run it by hand to see why") from error
    return found


def score(point: dict[str, Any], work: Work) -> float:
    """What counts: good requests a second where there are limits, else output tokens a second.

    A run with failed requests scores nothing: faster by failing is not faster.
    """
    if point["failed"]:
        return 0.0
    value = point["goodput_ps"] if work.slo else point["output_tps"]
    return float(value or 0.0)


def unit(work: Work) -> str:
    """What a score is counted in."""
    return "good requests/s" if work.slo else "output tok/s"
