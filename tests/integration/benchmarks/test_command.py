"""The command line on the fake: run, report, compare."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from tests.integration.benchmarks.conftest import Fake, Start

CODES = {"valid": 0, "not valid": 7, "not known": 8}
"""By verdict; which one it is depends on what else this machine is doing."""


def bench(*argv: str, codes: Collection[int] = (0,)) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "quantserve.benchmarks", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in codes, done.stderr
    assert "Traceback" not in done.stderr
    return done


def run(fake: Fake, out: Path, *argv: str) -> tuple[Path, dict[str, Any]]:
    args = ["--base-url", fake.url, "--out", str(out), "--seed", "3", "--requests", "40"]
    done = bench("run", *args, "--workload", "synthetic:prompt=8-32,output=8-16", *argv, codes=CODES.values())
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == CODES[last["verdict"]]
    assert last["valid"] is {0: True, 7: False, 8: None}[done.returncode]
    return Path(last["run"]), last


def test_the_load_of_the_machine_is_known_beside_a_running_server(start_fake: Start, tmp_path: Path) -> None:
    path, last = run(start_fake(ttft_ms=20, itl_ms=5), tmp_path)
    point = json.loads((path / "metrics.json").read_text())["points"][0]
    assert point["server"]["other_cpu_share"] is not None
    assert point["server"]["server_cpu_share"] > 0
    assert "other_load_unknown" not in last["reasons"]


def test_twelve_requests_carry_a_median_and_no_verdict(start_fake: Start, tmp_path: Path) -> None:
    path, last = run(start_fake(ttft_ms=20, itl_ms=5), tmp_path, "--requests", "12", "--load", "closed:4")
    (point,) = last["points"]
    for metric in ("ttft", "tpot", "itl", "e2e"):
        assert point[f"{metric}_p50_s"] is not None
        assert point[f"{metric}_p95_s"] is None
        assert point[f"{metric}_p99_s"] is None
    assert point["too_few_for"]["e2e_p95_s"] == 72
    assert last["valid"] is not True
    assert "steadiness_unknown" in last["reasons"]
    assert "p95 takes 72" in (path / "summary.md").read_text()


def test_a_comparison_says_what_its_runs_are_worth(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(ttft_ms=20, itl_ms=2)
    path, last = run(fake, tmp_path, "--requests", "12", "--load", "closed:4")
    done = bench("compare", str(path), str(path), "--fail-on", "e2e_p50>9s", codes=[CODES[last["verdict"]]])
    assert json.loads(done.stdout.splitlines()[-1])["verdicts"] == {
        "A": last["verdict"],
        "B": last["verdict"],
    }
    assert "A is not" in done.stderr


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
    bench("report", str(path), codes=CODES.values())
    assert (path / "metrics.json").read_bytes() == before
    assert (path / "report.html").is_file()


def test_compare_finds_a_slower_server(start_fake: Start, tmp_path: Path) -> None:
    fast, _ = run(start_fake(ttft_ms=20, itl_ms=2), tmp_path, "--load", "closed:4")
    slow, _ = run(start_fake(ttft_ms=40, itl_ms=2), tmp_path, "--load", "closed:4")
    done = bench("compare", str(fast), str(slow), "--fail-on", "ttft_p50>+50%", codes=[1])
    assert "**REGRESSION**" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["regressions"][0]["change"]["share"] > 0.5


def test_compare_passes_the_same_server(start_fake: Start, tmp_path: Path) -> None:
    fake = start_fake(ttft_ms=30, itl_ms=3)
    first, _ = run(fake, tmp_path, "--load", "closed:4")
    second, _ = run(fake, tmp_path, "--load", "closed:4", "--seed", "4")
    limits = ("--fail-on", "ttft_p50>+30%", "--fail-on", "output_tps<-30%")
    done = bench("compare", str(first), str(second), *limits, codes=CODES.values())
    assert json.loads(done.stdout.splitlines()[-1])["regressions"] == []


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
        [sys.executable, "-m", "quantserve.benchmarks", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("benchmarks: ")
