"""The command line on the fake: run, report, compare."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.benchmarks.conftest import Fake, Start


def bench(*argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def run(fake: Fake, out: Path, *argv: str) -> tuple[Path, dict[str, Any]]:
    args = ["--base-url", fake.url, "--pid", str(fake.pid), "--out", str(out), "--seed", "3"]
    done = bench("run", *args, "--requests", "40", "--workload", "synthetic:prompt=8-32,output=8-16", *argv)
    last = json.loads(done.stdout.splitlines()[-1])
    return Path(last["run"]), last


def test_run_leaves_everything_a_reader_needs(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(ttft_ms=20, itl_ms=5)
    path, last = run(fake, tmp_path, "--load", "closed:4", "--load", "poisson:40", "--slo", "ttft=50ms")
    names = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert names >= {
        "config.json",
        "environment.json",
        "records.jsonl",
        "samples.jsonl",
        "metrics.json",
        "report.html",
        "summary.md",
        "plots/timeline.png",
    }
    assert [p["load"] for p in last["points"]] == ["closed:4", "poisson:40"]
    assert all(p["failed"] == 0 and p["requests"] == 40 for p in last["points"])
    page = (path / "report.html").read_text()
    assert 'src="http' not in page
    assert "How to read this" in page


def test_prompts_have_the_exact_length(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake()
    path, _ = run(fake, tmp_path, "--workload", "synthetic:prompt=37,output=5")
    records = [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]
    assert {r["prompt_tokens"] for r in records} == {37}
    assert {r["completion_tokens"] for r in records} == {5}


def test_report_computes_the_same_from_raw_records_alone(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(ttft_ms=10, itl_ms=2)
    path, _ = run(fake, tmp_path, "--load", "closed:4")
    before = (path / "metrics.json").read_bytes()
    for name in ("metrics.json", "report.html", "summary.md"):
        (path / name).unlink()
    bench("report", str(path))
    assert (path / "metrics.json").read_bytes() == before
    assert (path / "report.html").is_file()


def test_compare_finds_a_slower_server(start_fake: Start, tmp_path: Path) -> None:
    fast, _ = run(start_fake(ttft_ms=20, itl_ms=2), tmp_path, "--load", "closed:4")
    slow, _ = run(start_fake(ttft_ms=40, itl_ms=2), tmp_path, "--load", "closed:4")
    done = bench("compare", str(fast), str(slow), "--fail-on", "ttft_p50>+50%", code=1)
    assert "**REGRESSION**" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["regressions"][0]["change"]["share"] > 0.5


def test_compare_passes_the_same_server(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(ttft_ms=30, itl_ms=3)
    first, _ = run(fake, tmp_path, "--load", "closed:4")
    second, _ = run(fake, tmp_path, "--load", "closed:4", "--seed", "4")
    bench("compare", str(first), str(second), "--fail-on", "ttft_p50>+30%", "--fail-on", "output_tps<-30%")


def test_conversations_send_what_was_answered(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(itl_ms=1)
    path, _ = run(fake, tmp_path, "--workload", "synthetic:prompt=16,output=8,turns=3,chat", "--warmup", "0")
    records = [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]
    by_turn = {turn: {r["prompt_tokens"] for r in records if r["turn"] == turn} for turn in range(3)}
    assert len(records) == 120
    # The fake counts words: 9 of its 16 are the template's, every answer adds 8.
    assert min(by_turn[1]) >= min(by_turn[0]) + 8
    assert min(by_turn[2]) >= min(by_turn[1]) + 8


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "--base-url", "http://127.0.0.1:9/v1"),
        ("run", "--load", "closed:0"),
        ("run", "--workload", "poetry"),
        ("report", "nowhere"),
        ("compare", "nowhere", "elsewhere"),
    ],
)
def test_bad_input_is_one_line(argv: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("benchmarks: ")
