"""`serving` and `soak` on fakes: what they start, in which order, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LAUNCHER = """#!/bin/sh
# Called as: PYTHON -m quantserve.serving serve … --ready-file FILE …   or   PYTHON -m vllm… … --port N
echo "$@" >> "{log}"
case "$2" in
  quantserve.serving) itl={ours}; while [ "$1" != --ready-file ]; do shift; done; set -- --ready-file "$2";;
  *) itl={plain}; while [ "$1" != --port ]; do shift; done; set -- --port "$2";;
esac
exec {python} -m tests.fakes_load.server --ttft-ms 5 --itl-ms $itl "$@"
"""


def bench(folder: Path, *argv: str, ours_ms: float, plain_ms: float = 4) -> subprocess.CompletedProcess[str]:
    target, launcher = folder / "model", folder / "environments/serving/bin/python"
    target.mkdir()
    launcher.parent.mkdir(parents=True)
    text = LAUNCHER.format(log=folder / "calls", ours=ours_ms, plain=plain_ms, python=sys.executable)
    launcher.write_text(text)
    launcher.chmod(0o755)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "quantserve.benchmarks",
            argv[0],
            str(target),
            *argv[1:],
            "--out",
            str(folder / "runs"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "QUANTSERVE_ENVIRONMENTS": str(launcher.parents[2])},
    )


def test_serving_says_that_ours_is_not_fast_enough(tmp_path: Path) -> None:
    done = bench(tmp_path, "serving", "--quick", "--repeats", "1", "--users", "1,4", ours_ms=8, plain_ms=1)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["against_defaults"]
    assert [one["users"] for one in found] == [1, 4]
    assert not found[1]["met"]
    assert len((tmp_path / "calls").read_text().splitlines()) == 2  # each was started once
    assert "times vLLM's defaults at 1 concurrent, not 1" in " ".join(done.stderr.split())


def test_soak_reports_its_promises(tmp_path: Path) -> None:
    done = bench(tmp_path, "soak", "--minutes", "0.1", "--users", "2", ours_ms=2)
    assert done.stdout, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    kept = {check["name"]: check["met"] for check in last["checks"]}
    assert kept["failed requests"], last["checks"]
    assert kept["clients that left midway"]
    assert kept["descriptors"]
    assert (Path(last["run"]) / "report.html").is_file()
    verdicts = {"valid": 0, "not valid": 7, "not known": 8}
    assert done.returncode == (verdicts[last["verdict"]] if all(kept.values()) else 1)
